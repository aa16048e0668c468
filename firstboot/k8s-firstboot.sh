#!/bin/sh
# Finds this machine's name and role, and runs the role's steps, each to its end exactly once.
#
# A step is a program in /usr/lib/nodeforge/firstboot.d. It must be idempotent: a power cut may
# end it anywhere, and the next boot runs it again from its start. Steps that ended well are
# marked in /var/lib/nodeforge/firstboot and not repeated.
set -eu

# shellcheck source=firstboot/lib.sh
. "${NODEFORGE_ROOT:-}/usr/lib/nodeforge/lib.sh"

attempts=${NODEFORGE_ATTEMPTS:-6}

# fail [STEP] MESSAGE
fail() {
	[ $# -eq 1 ] || { printf '%s\n' "$1" >"$failed_file" && shift; }
	log "failed: $1"
	exit 1
}

# A name that came from outside is made the machine's own; the file that would be believed at the
# next boot is written last.
adopt_hostname() {
	{
		grep -v '^127\.0\.1\.1[[:space:]]' "$root/etc/hosts" 2>/dev/null || :
		printf '127.0.1.1 %s\n' "$1"
	} | write_file 0644 "$root/etc/hosts"
	printf '%s\n' "$1" | write_file 0644 "$root/etc/hostname"
	hostname "$1"
}

# Called through `retry`: says what goes wrong, but for the last time.
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
		fail "$step" "step $step after $attempt attempts; \`journalctl -u k8s-firstboot\` tells why, the next boot tries again"
	# The mark must not survive a power cut that the step's own work did not.
	sync
	: >"$state_dir/$step.done"
	sync
	log "step $step done"
}

# Of a step that is marked done, what it declared `spent`.
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

found=$(find_hostname) || fail 'this machine has no name: neither /etc/hostname, guestinfo.hostname nor the credential nodeforge.hostname gives one'
name=${found% *}
[ "${found#* }" = file ] || adopt_hostname "$name"

found=$(find_role "$name") || fail "no pattern in /etc/nodeforge/roles matches the hostname $name"
# shellcheck disable=SC2086 # a role and its steps are words
set -- $found
NODEFORGE_HOSTNAME=$name
NODEFORGE_ROLE=$1
export NODEFORGE_HOSTNAME NODEFORGE_ROLE
shift
# A build that could run no program of the image left packages to us; they come in their turn.
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
# It kept units off that nobody asked for; packages installed from now on decide for themselves.
rm -f "$root/etc/systemd/system-preset/00-nodeforge.preset"
sync
: >"$done_file"
sync
# Should this fail, the unit's condition keeps it from running again.
systemctl --quiet disable k8s-firstboot.service || log 'cannot disable k8s-firstboot.service'
log 'done'
