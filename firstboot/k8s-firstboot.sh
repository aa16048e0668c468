#!/bin/sh
# Finds this machine's name and role, and runs the role's steps until each has succeeded once.
#
# A step is a program in /usr/lib/nodeforge/firstboot.d. It must be idempotent: a power cut may
# end it anywhere, and the next boot runs it again from the start. Steps that succeeded are
# marked in /var/lib/nodeforge/firstboot and not repeated.
#
# What fails is tried again, in rounds, for as long as the machine runs: a network that comes an hour
# late, or a server that is switched on the next day, needs nobody to reboot a node.
#
# Functions that a round is made of are called from conditions, where `set -e` has no effect: each
# says itself when it has failed.
set -eu

# shellcheck source=firstboot/lib.sh
. "${NODEFORGE_ROOT:-}/usr/lib/nodeforge/lib.sh"

# Of each step in one round.
attempts=${NODEFORGE_ATTEMPTS:-6}
# Seconds between the first round and the second; it doubles up to five minutes.
round_delay=${NODEFORGE_ROUND_DELAY:-60}
# 0: as many as it takes.
rounds=${NODEFORGE_ROUNDS:-0}

# What a step says, until the next one.
run_dir=$root/run/nodeforge/firstboot

# fail KEY WHAT WHY: notes for `nodeforge-firstboot status` and for the end of the round what has failed.
# While the same fails again, the time of the first failure stays.
fail() {
	what=$2
	why=$3
	report_status failing "$1" "$round"
	since=$(date -u '+%Y-%m-%d %H:%M:%S UTC')
	if [ "$(failure key)" = "$1" ]; then
		since=$(failure since)
	fi
	write_file 0644 "$failed_file" printf '%s\n' "$1" "$since" "$round" "$why" ||
		log 'cannot note what has failed'
	return 1
}

# /etc/hosts with this name for the machine.
hosts_with_name() {
	[ ! -e "$root/etc/hosts" ] || sed '/^127\.0\.1\.1[[:space:]]/d' "$root/etc/hosts" || return
	printf '127.0.1.1 %s\n' "$1"
}

# Makes a name from outside the machine's own. /etc/hostname, which the next boot reads first, is
# written last.
adopt_hostname() {
	write_file 0644 "$root/etc/hosts" hosts_with_name "$1" &&
		write_file 0644 "$root/etc/hostname" printf '%s\n' "$1" &&
		hostname "$1"
}

# mark FILE: all that was written before is on the disk before this file is. `true`: a redirection that
# fails would end the shell at `:`.
mark() {
	sync && true >"$1" && sync
}

# Called through `retry`; logs each failure but the last, which `fail` reports.
attempt_step() {
	attempt=$((attempt + 1))
	# The status of the try before is not this one's.
	rm -f "$state_dir/$step.spent" "$run_dir/status" || return
	# To the journal as it comes, and into a file that tells why a step failed. The status of a
	# pipe is that of its end.
	{
		status=0
		"$steps_dir/$step" || status=$?
		echo "$status" >"$run_dir/status"
	} 2>&1 | (umask 077 && exec tee "$run_dir/output")
	# No file where what ran the step was killed, an empty one where /run is full.
	status=$(cat "$run_dir/status" 2>/dev/null) || status=
	[ "$status" != 0 ] || return 0
	[ "$attempt" -ge "$attempts" ] ||
		log "step $step did not succeed, attempt $attempt of $attempts"
	return 1
}

# The last line that the step said, fit for a console.
reason() {
	said=$(tail -n 20 "$run_dir/output" | LC_ALL=C tr -cd '\n -~' |
		sed -e '/^ *$/d' -e 's/^nodeforge-firstboot: //' | tail -n 1 | cut -c 1-200)
	[ -n "$status" ] || said="${said:+$said; }it left no exit status: it was killed, or /run is full"
	printf '%s\n' "${said:-it exited with $status and said nothing}"
}

run_step() {
	step=$1
	attempt=0
	status=0
	NODEFORGE_STEP=$step
	export NODEFORGE_STEP
	report_status at "$step"
	retry "$attempts" attempt_step || {
		fail "$step" "step $step" "$(reason)"
		return
	}
	mark "$state_dir/$step.done" || {
		fail "$step" "step $step" 'its mark cannot be written'
		return
	}
	[ "$(failure key)" != "$step" ] || rm -f "$failed_file"
	log "step $step done"
}

# shred_spent STEP: the step is marked done, and what it declared `spent` goes.
shred_spent() {
	[ -e "$state_dir/$1.spent" ] || return 0
	while read -r file; do
		[ ! -f "$file" ] || shred -u "$file" || return
	done <"$state_dir/$1.spent"
	rm "$state_dir/$1.spent"
}

shred_secrets() {
	[ -d "$root/etc/nodeforge/secrets" ] || return 0
	find "$root/etc/nodeforge/secrets" -type f -exec shred -u {} + &&
		rm -r "$root/etc/nodeforge/secrets"
}

run_round() {
	found=$(find_hostname) || {
		fail name 'this machine has no name' 'none in /etc/hostname, guestinfo.hostname or the credential nodeforge.hostname'
		return
	}
	name=${found% *}
	[ "${found#* }" = file ] || adopt_hostname "$name" || {
		fail name 'this machine has no name' "the name $name cannot be given to it"
		return
	}

	found=$(find_role "$name") || {
		fail role 'this machine has no role' "no pattern in /etc/nodeforge/roles matches the hostname $name"
		return
	}
	# shellcheck disable=SC2086 # a role and its steps are words
	set -- $found
	NODEFORGE_HOSTNAME=$name
	NODEFORGE_ROLE=$1
	export NODEFORGE_HOSTNAME NODEFORGE_ROLE
	shift
	# A build that could not run the image's programs leaves the packages to first boot, and a cluster
	# file may ask for disks.
	for extra in 05-packages 06-disks; do
		if [ -e "$steps_dir/$extra" ]; then
			# shellcheck disable=SC2046 # steps are words
			set -- $(printf '%s\n' "$extra" "$@" | sort -u)
		fi
	done
	[ "$round" -gt 1 ] ||
		log "role=$NODEFORGE_ROLE hostname=$NODEFORGE_HOSTNAME machine-id=$(cat "$root/etc/machine-id")"

	for step; do
		if ! is_done "$step"; then
			run_step "$step" || return
		elif [ "$round" -eq 1 ]; then
			log "step $step was done before"
		fi
		shred_spent "$step" || {
			fail "$step" "step $step" 'the secrets that it no longer needs cannot be shredded'
			return
		}
	done

	shred_secrets || {
		fail secrets 'the end of first boot' 'what is left in /etc/nodeforge/secrets cannot be shredded'
		return
	}
	# It kept units disabled that the profile does not enable. Packages installed later decide themselves.
	rm -f "$failed_file" "$root/etc/systemd/system-preset/00-nodeforge.preset" || :
	mark "$done_file" || fail finish 'the end of first boot' 'its mark cannot be written'
}

mkdir -p "$state_dir"
(umask 077 && mkdir -p "$run_dir")

round=1
until run_round; do
	failed="failed: $what: $why (round $round, since $since)"
	if [ "$round" -eq "$rounds" ]; then
		log "$failed"
		exit 1
	fi
	log "$failed; the next round begins in $round_delay s, or with \`nodeforge-firstboot retry\`"
	pause "$round_delay"
	round_delay=$((round_delay * 2))
	[ "$round_delay" -le 300 ] || round_delay=300
	round=$((round + 1))
done

rm -rf "$run_dir"
report_status 'done'
# Even if this fails, the unit's condition keeps it from running again.
systemctl --quiet disable k8s-firstboot.service || log 'cannot disable k8s-firstboot.service'
log 'done'
