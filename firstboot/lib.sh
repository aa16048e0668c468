# Shared by the first-boot runner, its steps and `nodeforge-firstboot`. POSIX sh, sourced.
# docs/first-boot.md says what a step may use of it.
# NODEFORGE_ROOT, empty on a node, is where tests keep a stand-in for the root.
# shellcheck shell=sh disable=SC2034

root=${NODEFORGE_ROOT:-}
roles_file=$root/etc/nodeforge/roles
steps_dir=$root/usr/lib/nodeforge/firstboot.d
state_dir=$root/var/lib/nodeforge/firstboot
failed_file=$state_dir/failed
done_file=$root/var/lib/k8s-firstboot-done

# One line on the journal, and on the console where the unit names one. What programs print by
# themselves goes to the journal only.
log() {
	printf 'nodeforge-firstboot: %s\n' "$*"
	if [ -n "${NODEFORGE_CONSOLE:-}" ]; then
		printf 'nodeforge-firstboot: %s\n' "$*" 2>/dev/null >>"$NODEFORGE_CONSOLE" || :
	fi
}

# pause SECONDS: sleeps that long and up to a quarter more, so that the nodes of a cluster do not
# knock in step.
pause() {
	sleep "$(awk -v seconds="$1" -v jitter="$(od -An -N1 -tu1 /dev/urandom)" \
		'BEGIN { print seconds * (1 + jitter / 1024) }')"
}

# retry ATTEMPTS COMMAND…: runs it until it succeeds, with pauses that double from
# NODEFORGE_DELAY (2 s) up to a minute. Fails as the last attempt did.
retry() {
	retries_left=$1
	shift
	retry_delay=${NODEFORGE_DELAY:-2}
	while :; do
		retry_status=0
		"$@" || retry_status=$?
		retries_left=$((retries_left - 1))
		if [ "$retry_status" -eq 0 ] || [ "$retries_left" -le 0 ]; then
			return "$retry_status"
		fi
		pause "$retry_delay"
		retry_delay=$((retry_delay * 2))
		[ "$retry_delay" -le 60 ] || retry_delay=60
	done
}

# wait_for SECONDS WHAT COMMAND…: runs it every NODEFORGE_DELAY (2 s) until it succeeds; says what
# it waited for, and fails, when it did not in that time. The command's own output is dropped.
wait_for() {
	wait_until=$(($(uptime_seconds) + $1))
	wait_what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		if [ "$(uptime_seconds)" -ge "$wait_until" ]; then
			log "waited in vain for $wait_what"
			return 1
		fi
		sleep "${NODEFORGE_DELAY:-2}"
	done
}

# Not the clock: that may jump by years while a machine without a battery boots.
uptime_seconds() {
	cut -d. -f1 /proc/uptime
}

# write_file MODE FILE: standard input becomes the file, whole or not at all.
write_file() {
	mkdir -p "${2%/*}"
	(umask 077 && cat >"$2.new")
	chmod "$1" "$2.new"
	sync "$2.new"
	mv "$2.new" "$2"
}

# spent FILE…: the step needs them no more. They are shredded as soon as it is marked done, also
# when the power fails in between.
spent() {
	printf '%s\n' "$@" >>"$state_dir/$NODEFORGE_STEP.spent"
}

# The machine's name from the first source that knows it; fails when none does.
# A name that is no DNS label is not believed: it becomes file names and arguments.
find_hostname() {
	for source in file guestinfo credential; do
		name=$("hostname_from_$source" 2>/dev/null) || continue
		name=$(printf '%s' "$name" | tr '[:upper:]' '[:lower:]')
		if printf '%s\n' "$name" | grep -Eqx '[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?' &&
			[ "$name" != localhost ]; then
			printf '%s %s\n' "$name" "$source"
			return 0
		fi
	done
	return 1
}

hostname_from_file() {
	[ -s "$root/etc/hostname" ] && grep -v '^#' "$root/etc/hostname" | head -n 1
}

# VMware answers guest information through either of two programs of open-vm-tools.
hostname_from_guestinfo() {
	if command -v vmware-rpctool >/dev/null; then
		vmware-rpctool 'info-get guestinfo.hostname'
	else
		vmtoolsd --cmd 'info-get guestinfo.hostname'
	fi
}

hostname_from_credential() {
	if [ -n "${CREDENTIALS_DIRECTORY:-}" ] && [ -r "$CREDENTIALS_DIRECTORY/nodeforge.hostname" ]; then
		cat "$CREDENTIALS_DIRECTORY/nodeforge.hostname"
	else
		systemd-creds --system cat nodeforge.hostname
	fi
}

# Prints `ROLE STEP…` of the first pattern that matches the whole of $1; fails when none does.
# A line of the roles file is `PATTERN ROLE STEP…`.
find_role() {
	while read -r pattern rest; do
		case $pattern in '' | '#'*) continue ;; esac
		if printf '%s\n' "$1" | grep -Eqx -e "$pattern"; then
			printf '%s\n' "$rest"
			return 0
		fi
	done <"$roles_file"
	return 1
}

is_done() {
	[ -e "$state_dir/$1.done" ]
}
