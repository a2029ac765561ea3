//! Which system calls a confined program may make: a program for the kernel's packet filter.

use std::io;

const ERRNO: u32 = 0x0005_0000;
const KILL: u32 = 0x8000_0000;
const ALLOW: u32 = 0x7fff_0000;

/// Where the kernel puts the call's number, the processor's kind and the low halves of arguments.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const FIRST: u32 = 16;
const SECOND: u32 = 24;
const THIRD: u32 = 32;

#[cfg(target_arch = "x86_64")]
const OWN_ARCH: Option<u32> = Some(0xc000_003e);
#[cfg(target_arch = "aarch64")]
const OWN_ARCH: Option<u32> = Some(0xc000_00b7);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const OWN_ARCH: Option<u32> = None;

/// Calls of another form of x86-64, with numbers of their own, begin here.
#[cfg(target_arch = "x86_64")]
const FOREIGN: Option<u32> = Some(0x4000_0000);
#[cfg(not(target_arch = "x86_64"))]
const FOREIGN: Option<u32> = None;

/// What reaches other processes, changes files by their names in ways that Landlock does not know,
/// outlives the program, or is for who administers a machine.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pidfd_getfd,
    libc::SYS_setpriority,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setattr,
    libc::SYS_ioprio_set,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    // `fchmodat2` on every processor.
    452,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_truncate,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_memfd_create,
    libc::SYS_shmget,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_mq_open,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_syslog,
    // Neither processes nor threads: how many there are is bounded by nothing else.
    libc::SYS_clone,
];

/// What lets the kernel send signals in the program's name, to whom it likes.
const OWNERS: [i32; 3] = [libc::F_SETOWN, F_SETSIG, F_SETOWN_EX];
const F_SETSIG: i32 = 10;
const F_SETOWN_EX: i32 = 15;
/// The same as `ioctl`: `FIOSETOWN`, `SIOCSPGRP`.
const OWNERS_OF_SOCKETS: [i32; 2] = [0x8901, 0x8902];

/// The same, where a processor still has the calls of old.
#[cfg(target_arch = "x86_64")]
const REFUSED_OF_OLD: &[libc::c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_creat,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_OF_OLD: &[libc::c_long] = &[];

fn one(code: u32, value: u32, (yes, no): (u8, u8)) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: yes, jf: no, k: value }
}

fn load(offset: u32) -> libc::sock_filter {
    one(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, (0, 0))
}

fn answer(value: u32) -> libc::sock_filter {
    one(libc::BPF_RET | libc::BPF_K, value, (0, 0))
}

fn equal(value: u32, jumps: (u8, u8)) -> libc::sock_filter {
    one(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, jumps)
}

fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).unwrap_or(u32::MAX)
}

fn refuse() -> libc::sock_filter {
    answer(ERRNO | libc::EPERM as u32)
}

/// Refuses a call with one of these values as an argument. Behind it the number has to be loaded again,
/// which it does.
fn refused_values(call: libc::c_long, argument: u32, values: &[i32]) -> Vec<libc::sock_filter> {
    let mut filter = vec![load(argument)];
    for value in values {
        filter.extend([equal(*value as u32, (0, 1)), refuse()]);
    }
    only(call, filter)
}

/// Refuses a call with any other value in these bits of an argument.
fn allowed_value(
    call: libc::c_long,
    (argument, mask): (u32, u32),
    value: u32,
) -> Vec<libc::sock_filter> {
    let masked = one(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, mask, (0, 0));
    only(call, vec![load(argument), masked, equal(value, (1, 0)), refuse()])
}

/// Refuses a call with one of these bits in an argument.
fn refused_bits(call: libc::c_long, argument: u32, bits: u32) -> Vec<libc::sock_filter> {
    let has = one(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, bits, (0, 1));
    only(call, vec![load(argument), has, refuse()])
}

/// Looks closer at one call; what is not refused is looked at further by its number.
fn only(call: libc::c_long, mut closer: Vec<libc::sock_filter>) -> Vec<libc::sock_filter> {
    closer.push(load(NUMBER));
    let past = u8::try_from(closer.len()).unwrap_or(u8::MAX);
    closer.insert(0, equal(number(call), (0, past)));
    closer
}

/// The filter; every call that it does not name is allowed.
pub(crate) fn program(network: bool) -> io::Result<Vec<libc::sock_filter>> {
    let Some(own) = OWN_ARCH else {
        let text = "programs are confined on x86-64 and AArch64 alone";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    };
    let mut filter = vec![load(ARCH), equal(own, (1, 0)), answer(KILL), load(NUMBER)];
    if let Some(foreign) = FOREIGN {
        filter.push(one(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, foreign, (0, 1)));
        filter.push(answer(KILL));
    }
    for call in REFUSED.iter().chain(REFUSED_OF_OLD) {
        filter.extend([equal(number(*call), (0, 1)), refuse()]);
    }
    // What they ask for lies in memory, which a filter cannot read: programs then use the calls of old.
    let unknown = answer(ERRNO | libc::ENOSYS as u32);
    for call in [libc::SYS_clone3, libc::SYS_openat2] {
        filter.extend([equal(number(call), (0, 1)), unknown]);
    }
    filter.extend(refused_values(libc::SYS_fcntl, SECOND, &OWNERS));
    filter.extend(refused_values(libc::SYS_ioctl, SECOND, &OWNERS_OF_SOCKETS));
    // It ends with whom it works for.
    filter.extend(refused_values(libc::SYS_prctl, FIRST, &[libc::PR_SET_PDEATHSIG]));
    // Of itself alone.
    for call in [libc::SYS_prlimit64, libc::SYS_sched_setaffinity] {
        filter.extend(allowed_value(call, (FIRST, u32::MAX), 0));
    }
    // Pairs of another kind can be sent from to any socket with a name.
    filter.extend(allowed_value(libc::SYS_socketpair, (SECOND, 0xf), libc::SOCK_STREAM as u32));
    // Landlock does not keep files from being emptied before its third version.
    filter.extend(refused_bits(libc::SYS_openat, THIRD, libc::O_TRUNC as u32));
    #[cfg(target_arch = "x86_64")]
    filter.extend(refused_bits(libc::SYS_open, SECOND, libc::O_TRUNC as u32));
    if network {
        // A socket of the machine's own, such as that of a container engine, is none of the network.
        let (four, six) =
            (equal(libc::AF_INET as u32, (2, 0)), equal(libc::AF_INET6 as u32, (1, 0)));
        filter.extend([
            equal(number(libc::SYS_socket), (0, 5)),
            load(FIRST),
            four,
            six,
            refuse(),
            answer(ALLOW),
        ]);
    } else {
        filter.extend([equal(number(libc::SYS_socket), (0, 1)), refuse()]);
    }
    filter.push(answer(ALLOW));
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the filter answers to a call with this first argument.
    fn asked(network: bool, call: libc::c_long, first: u32) -> u32 {
        asked_with(network, call, [first, 0, 0])
    }

    fn asked_with(network: bool, call: libc::c_long, arguments: [u32; 3]) -> u32 {
        let filter = program(network).unwrap();
        let (mut at, mut value) = (0, 0);
        loop {
            let step = filter[at];
            at += 1;
            let jump = match u32::from(step.code) & 0xf7 {
                code if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => {
                    value = match step.k {
                        NUMBER => number(call),
                        ARCH => OWN_ARCH.unwrap(),
                        argument => arguments[(argument - FIRST) as usize / 8],
                    };
                    continue;
                }
                code if code == libc::BPF_ALU | libc::BPF_AND => {
                    value &= step.k;
                    continue;
                }
                code if code & 0x07 == libc::BPF_RET => return step.k,
                code if code == libc::BPF_JMP | libc::BPF_JEQ => value == step.k,
                code if code == libc::BPF_JMP | libc::BPF_JGE => value >= step.k,
                _ => value & step.k != 0,
            };
            at += usize::from(if jump { step.jt } else { step.jf });
        }
    }

    #[test]
    fn what_reaches_others_is_refused_and_the_rest_is_not() {
        let refused = ERRNO | libc::EPERM as u32;
        for call in [libc::SYS_kill, libc::SYS_reboot, libc::SYS_memfd_create] {
            assert_eq!(asked(false, call, 0), refused);
        }
        for call in [libc::SYS_read, libc::SYS_mmap, libc::SYS_futex, libc::SYS_fcntl] {
            assert_eq!(asked(false, call, 0), ALLOW);
        }
        assert_eq!(asked(false, libc::SYS_clone, libc::SIGCHLD as u32), refused);
        assert_eq!(asked(false, libc::SYS_clone, libc::CLONE_THREAD as u32 | 0x100), refused);
        for call in [libc::SYS_prlimit64, libc::SYS_sched_setaffinity] {
            assert_eq!(asked(false, call, 1), refused);
            assert_eq!(asked(false, call, 0), ALLOW);
        }
        assert_eq!(asked(false, libc::SYS_socket, libc::AF_INET as u32), refused);
        for (call, arguments) in [
            (libc::SYS_fcntl, [3, libc::F_SETOWN as u32, 0]),
            (libc::SYS_fcntl, [3, F_SETSIG as u32, 0]),
            (libc::SYS_ioctl, [3, 0x8901, 0]),
            (libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as u32, 0, 0]),
            (libc::SYS_socketpair, [1, libc::SOCK_DGRAM as u32, 0]),
            (libc::SYS_openat, [3, 0, (libc::O_TRUNC | libc::O_CLOEXEC) as u32]),
        ] {
            assert_eq!(asked_with(true, call, arguments), refused, "{call} {arguments:?}");
        }
        let stream = (libc::SOCK_STREAM | libc::SOCK_CLOEXEC) as u32;
        assert_eq!(asked_with(false, libc::SYS_socketpair, [1, stream, 0]), ALLOW);
        assert_eq!(asked_with(false, libc::SYS_openat, [3, 0, libc::O_CLOEXEC as u32]), ALLOW);
        for (family, said) in
            [(libc::AF_INET, ALLOW), (libc::AF_INET6, ALLOW), (libc::AF_UNIX, refused)]
        {
            assert_eq!(asked(true, libc::SYS_socket, family as u32), said);
        }
    }
}
