# Shared by the first-boot runner, its steps, `nodeforge-firstboot` and the services of profiles.
# POSIX sh, sourced. docs/first-boot.md lists what a step may use of it.
# shellcheck shell=sh

# Every path of the node starts with it: empty on a node, a stand-in's folder in tests.
root=${NODEFORGE_ROOT:-}
roles_file=$root/etc/nodeforge/roles
# shellcheck disable=SC2034 # for the runner
steps_dir=$root/usr/lib/nodeforge/firstboot.d
state_dir=$root/var/lib/nodeforge/firstboot
failed_file=$state_dir/failed
# shellcheck disable=SC2034 # for the runner and `nodeforge-firstboot`
done_file=$root/var/lib/k8s-firstboot-done

# --- messages

# log TEXT: one line in the journal, and on the console where the unit names one. The output of
# other programs goes to the journal only.
log() {
	printf 'nodeforge-firstboot: %s\n' "$*"
	if [ -n "${NODEFORGE_CONSOLE:-}" ]; then
		printf 'nodeforge-firstboot: %s\n' "$*" 2>/dev/null >>"$NODEFORGE_CONSOLE" || :
	fi
}

# --- waiting

# pause SECONDS: sleeps that long and up to a quarter more, so that the nodes of a cluster do not
# all try at the same moment.
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

# wait_for SECONDS WHAT COMMAND…: runs it every NODEFORGE_DELAY (2 s) until it succeeds. Once the
# time is up, logs what it waited for and fails. The output of the command is dropped.
wait_for() {
	wait_until=$(($(uptime_seconds) + $1))
	wait_what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		if [ "$(uptime_seconds)" -ge "$wait_until" ]; then
			log "timed out waiting for $wait_what"
			return 1
		fi
		sleep "${NODEFORGE_DELAY:-2}"
	done
}

# Not the clock: on a machine without a battery it may jump by years during the boot.
uptime_seconds() {
	cut -d. -f1 /proc/uptime
}

# --- files

# write_file MODE FILE [COMMAND…]: the command's output, or without one standard input, becomes the
# file. The file is replaced as a whole; it stays as it was when the command fails, which the end
# of a pipe would not notice.
write_file() {
	write_mode=$1
	write_target=$2
	shift 2
	[ $# -gt 0 ] || set -- cat
	mkdir -p "${write_target%/*}" || return
	(umask 077 && "$@" >"$write_target.new") || return
	chmod "$write_mode" "$write_target.new" || return
	sync "$write_target.new" || return
	mv "$write_target.new" "$write_target"
}

# download URL SHA256 MODE FILE: the file appears when all of it is there and has this hash. Without a
# hash nothing is downloaded.
download() {
	if ! printf '%s\n' "$2" | grep -Eqx '[0-9a-f]{64}'; then
		log "nothing says what $1 must hash to"
		return 1
	fi
	mkdir -p "${4%/*}" || return
	log "downloading $1"
	curl --fail --silent --show-error --location --retry 5 --proto '=https' --proto-redir '=https' \
		--output "$4.new" "$1" || return
	if ! printf '%s  %s\n' "$2" "$4.new" | sha256sum --check --status; then
		log "the download from $1 does not have the SHA-256 hash $2"
		rm -f "$4.new"
		return 1
	fi
	chmod "$3" "$4.new" || return
	sync "$4.new" || return
	mv "$4.new" "$4"
}

# spent FILE…: the step does not need these secrets again. They are shredded as soon as the step is
# marked done, even when the power fails in between.
spent() {
	printf '%s\n' "$@" >>"$state_dir/$NODEFORGE_STEP.spent"
}

# give_kubeconfig USER: standard input becomes the kubeconfig that the user's kubectl finds.
give_kubeconfig() {
	if ! account=$(getent passwd "$1"); then
		log "there is no user $1"
		return 1
	fi
	kube_dir=$root$(printf '%s\n' "$account" | cut -d: -f6)/.kube
	write_file 0600 "$kube_dir/config" || return
	chmod 0700 "$kube_dir" || return
	chown "$(printf '%s\n' "$account" | cut -d: -f3,4)" "$kube_dir" "$kube_dir/config"
}

# is_line_of FORM TEXT: whether the text is a single line, all of which an extended regular expression
# matches.
is_line_of() {
	[ "$(printf '%s\n' "$2" | wc -l)" -eq 1 ] && printf '%s\n' "$2" | LC_ALL=C grep -Eqx -e "$1"
}

# --- disks

# superblocks DEVICE FIRST END: `MIB KIND` for each MiB of the device, from FIRST to before END, at which a
# file system or a volume begins: where its partition has been. Fails when it cannot read.
superblocks() {
	perl -e '
		my ($device, $first, $end) = @ARGV;
		open(my $file, "<:raw", $device) or die "$device: $!\n";
		for (my $mib = $first; $mib < $end; $mib++) {
			defined sysseek($file, $mib * 1048576, 0) or die "$device: $!\n";
			my $length = sysread($file, my $block, 4096);
			defined $length or die "$device, MiB $mib: $!\n";
			last if $length == 0;
			$block .= "\0" x (4096 - $length);
			# Copies of superblocks say that they are: ext4 by their group, xfs by being in progress (sb_inprogress).
			my $kind = substr($block, 1080, 2) eq "\x53\xef" && substr($block, 1114, 2) eq "\0\0" ? "ext"
				: substr($block, 0, 4) eq "XFSB" && substr($block, 126, 1) eq "\0" ? "xfs"
				: substr($block, 0, 22) eq "bluestore block device" ? "ceph"
				: substr($block, 0, 2048) =~ /^(?:.{512}){0,3}LABELONE/s ? "LVM"
				: substr($block, 0, 6) eq "LUKS\xba\xbe" ? "LUKS"
				: next;
			print "$mib $kind\n";
		}' "$@"
}

# refuse_over DEVICE FOUND WHAT: tells what is not done because of the first that `superblocks` has found.
refuse_over() {
	found_mib=${2%% *}
	found_kind=${2#* }
	found_kind=${found_kind%%"
"*}
	log "$3: at MiB $found_mib of $1 begins a partition that was there before ($found_kind);" \
		"where it is not needed, \`dd if=/dev/zero of=$1 bs=1M count=1 conv=notrunc seek=$found_mib\` ends that"
}

# file_system_mib DEVICE KIND: the size of its ext4 or xfs in MiB.
file_system_mib() {
	perl -e '
		my ($device, $kind) = @ARGV;
		open(my $file, "<:raw", $device) or die "$device: $!\n";
		(sysread($file, my $block, 4096) // 0) == 4096 or die "$device cannot be read\n";
		my $bytes;
		if ($kind eq "xfs") {
			my (undef, $unit, $count) = unpack "a4 N Q>", $block;
			$bytes = $unit * $count;
		} else {
			my $super = substr $block, 1024;
			my ($low, $shift, $flags, $high) = unpack q(x4 V x16 V @96 V @336 V), $super;
			$bytes = ($low + ($flags & 0x80 ? $high * 2**32 : 0)) * (1024 << $shift);
		}
		print int($bytes / 1048576), "\n"' "$@"
}

# --- VMware

# guestinfo_get KEY FORM: prints `guestinfo.KEY`, one line of this form (an extended regular expression
# for all of it). Fails where there is no such key, its value has another form, or there is no VMware:
# whoever may set guest information writes what ends up in files.
guestinfo_get() {
	guestinfo_value=$(guestinfo_request "info-get guestinfo.$1") || return
	is_line_of "$2" "$guestinfo_value" && printf '%s\n' "$guestinfo_value"
}

# guestinfo_set KEY VALUE
guestinfo_set() {
	guestinfo_request "info-set guestinfo.$1 $2" >/dev/null
}

# Either of two programs of open-vm-tools answers.
guestinfo_request() {
	if command -v vmware-rpctool >/dev/null; then
		vmware-rpctool "$1"
	else
		vmtoolsd --cmd "$1"
	fi
}

# report_status WORD…: tells `nodeforge vm list` how far this machine is, in a form that
# src/vmware/guest_status.rs reads. Guest information ends with the machine's power, and every user of
# the machine may read it: it says nothing of why something failed.
report_status() {
	[ "$(systemd-detect-virt --vm 2>/dev/null)" = vmware ] || return 0
	guestinfo_set nodeforge.status "${NODEFORGE_ROLE:--} $*" 2>/dev/null || :
}

# --- the machine's name and role

# A DNS label.
label='[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?'

# Prints `NAME SOURCE` from the first source that has a valid name; fails when none does.
# Anything but a DNS label is skipped: the name becomes file names and arguments.
find_hostname() {
	for source in file guestinfo credential; do
		name=$("hostname_from_$source" 2>/dev/null) || continue
		name=$(printf '%s' "$name" | tr '[:upper:]' '[:lower:]')
		if is_line_of "$label" "$name" && [ "$name" != localhost ]; then
			printf '%s %s\n' "$name" "$source"
			return 0
		fi
	done
	return 1
}

hostname_from_file() {
	[ -s "$root/etc/hostname" ] && grep -v '^#' "$root/etc/hostname" | head -n 1
}

hostname_from_guestinfo() {
	guestinfo_get hostname '[A-Za-z0-9-]{1,63}'
}

hostname_from_credential() {
	if [ -n "${CREDENTIALS_DIRECTORY:-}" ] && [ -r "$CREDENTIALS_DIRECTORY/nodeforge.hostname" ]; then
		cat "$CREDENTIALS_DIRECTORY/nodeforge.hostname"
	else
		systemd-creds --system cat nodeforge.hostname
	fi
}

# find_role NAME: prints `ROLE STEP…` of the first pattern that matches the whole name; fails when
# none does. A line of the roles file is `PATTERN ROLE STEP…`.
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

# is_done STEP
is_done() {
	[ -e "$state_dir/$1.done" ]
}

# failure key|since|round|why: of what failed last; nothing where nothing did. Lines of a file.
failure() {
	case $1 in
	key) set -- 1 ;;
	since) set -- 2 ;;
	round) set -- 3 ;;
	why) set -- 4 ;;
	esac
	[ ! -e "$failed_file" ] || sed -n "$1p" "$failed_file"
}
