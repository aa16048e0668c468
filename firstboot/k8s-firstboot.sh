#!/bin/sh
# Finds this machine's name and role, and runs the role's steps until each has succeeded once.
#
# A step is a program in /usr/lib/nodeforge/firstboot.d. It must be idempotent: a power cut may
# end it anywhere, and the next boot runs it again from the start. Steps that succeeded are
# marked in /var/lib/nodeforge/firstboot and not repeated.
set -eu

# shellcheck source=firstboot/lib.sh
. "${NODEFORGE_ROOT:-}/usr/lib/nodeforge/lib.sh"

attempts=${NODEFORGE_ATTEMPTS:-6}

# fail [STEP] MESSAGE
fail() {
	if [ $# -eq 2 ]; then
		# For `nodeforge-firstboot status`, which matters less than the message.
		printf '%s\n' "$1" | write_file 0644 "$failed_file" || :
		shift
	fi
	log "failed: $1"
	exit 1
}

# /etc/hosts with this name for the machine.
hosts_with_name() {
	[ ! -e "$root/etc/hosts" ] || sed '/^127\.0\.1\.1[[:space:]]/d' "$root/etc/hosts" || return
	printf '127.0.1.1 %s\n' "$1"
}

# Makes a name from outside the machine's own. /etc/hostname, which the next boot reads first, is
# written last.
adopt_hostname() {
	write_file 0644 "$root/etc/hosts" hosts_with_name "$1"
	printf '%s\n' "$1" | write_file 0644 "$root/etc/hostname"
	hostname "$1"
}

# Called through `retry`; logs each failure but the last, which `fail` reports.
attempt_step() {
	attempt=$((attempt + 1))
	rm -f "$state_dir/$step.spent"
	if "$steps_dir/$step"; then
		return 0
	fi
	[ "$attempt" -ge "$attempts" ] ||
		log "step $step did not succeed, attempt $attempt of $attempts"
	return 1
}

run_step() {
	step=$1
	attempt=0
	NODEFORGE_STEP=$step
	export NODEFORGE_STEP
	retry "$attempts" attempt_step ||
		fail "$step" "step $step after $attempt attempts; see \`journalctl -u k8s-firstboot\`. The next boot tries again"
	# All that the step wrote must be on the disk before its mark is.
	sync
	: >"$state_dir/$step.done"
	sync
	log "step $step done"
}

# shred_spent STEP: the step is marked done, and what it declared `spent` goes.
shred_spent() {
	[ -e "$state_dir/$1.spent" ] || return 0
	while read -r file; do
		[ ! -f "$file" ] || shred -u "$file"
	done <"$state_dir/$1.spent"
	rm "$state_dir/$1.spent"
}

shred_secrets() {
	[ -d "$root/etc/nodeforge/secrets" ] || return 0
	find "$root/etc/nodeforge/secrets" -type f -exec shred -u {} +
	rm -r "$root/etc/nodeforge/secrets"
}

mkdir -p "$state_dir"
rm -f "$failed_file"

found=$(find_hostname) ||
	fail 'this machine has no name: none in /etc/hostname, guestinfo.hostname or the credential nodeforge.hostname'
name=${found% *}
[ "${found#* }" = file ] || adopt_hostname "$name"

found=$(find_role "$name") || fail "no pattern in /etc/nodeforge/roles matches the hostname $name"
# shellcheck disable=SC2086 # a role and its steps are words
set -- $found
NODEFORGE_HOSTNAME=$name
NODEFORGE_ROLE=$1
export NODEFORGE_HOSTNAME NODEFORGE_ROLE
shift
# A build that could not run the image's programs leaves the packages to first boot.
if [ -e "$steps_dir/05-packages" ]; then
	# shellcheck disable=SC2046 # steps are words
	set -- $(printf '%s\n' 05-packages "$@" | sort)
fi
log "role=$NODEFORGE_ROLE hostname=$NODEFORGE_HOSTNAME machine-id=$(cat "$root/etc/machine-id")"

for step; do
	if is_done "$step"; then
		log "step $step was done before"
	else
		run_step "$step"
	fi
	shred_spent "$step"
done

shred_secrets
# It kept units disabled that the profile does not enable. Packages installed later decide themselves.
rm -f "$root/etc/systemd/system-preset/00-nodeforge.preset"
sync
: >"$done_file"
sync
# Even if this fails, the unit's condition keeps it from running again.
systemctl --quiet disable k8s-firstboot.service || log 'cannot disable k8s-firstboot.service'
log 'done'
