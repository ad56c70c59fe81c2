/* Seccomp: see seccomp.h. The lists name system calls; libseccomp knows their numbers, and leaves
 * out what an architecture does not have. */
#include "gateway/seccomp.h"

#ifdef HAVE_SECCOMP

#include <errno.h>
#include <seccomp.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

/* What the gateway, libevent, libcurl (its resolver too), OpenSSL, SQLite and the C library do. */
static const char *const allowed[] = {
    /* memory */
    "brk",
    "madvise",
    "mlock",
    "mremap",
    "munlock",
    "munmap",
    /* threads and time */
    "clock_getres",
    "clock_gettime",
    "clock_nanosleep",
    "exit",
    "exit_group",
    "futex",
    "futex_waitv",
    "get_robust_list",
    "gettid",
    "gettimeofday",
    "membarrier",
    "nanosleep",
    "restart_syscall",
    "rseq",
    "sched_getaffinity",
    "sched_getparam",
    "sched_getscheduler",
    "sched_setscheduler",
    "sched_yield",
    "set_robust_list",
    "set_tid_address",
    "time",
    /* signals */
    "rt_sigaction",
    "rt_sigpending",
    "rt_sigprocmask",
    "rt_sigreturn",
    "rt_sigtimedwait",
    "sigaltstack",
    "tgkill",
    /* who and where */
    "capget",
    "getcwd",
    "getegid",
    "geteuid",
    "getgid",
    "getpid",
    "getppid",
    "getrandom",
    "getresgid",
    "getresuid",
    "getrlimit",
    "getrusage",
    "getuid",
    "prctl",
    "prlimit64",
    "setrlimit",
    "sysinfo",
    "umask",
    "uname",
    /* files */
    "access",
    "chmod",
    "close",
    "close_range",
    "dup",
    "dup2",
    "dup3",
    "faccessat",
    "faccessat2",
    "fadvise64",
    "fallocate",
    "fchmod",
    "fchown",
    "fcntl",
    "fdatasync",
    "flock",
    "fstat",
    "fstatfs",
    "fsync",
    "ftruncate",
    "getdents64",
    "lseek",
    "lstat",
    "mkdir",
    "newfstatat",
    "open",
    "openat",
    "pread64",
    "preadv",
    "pwrite64",
    "pwritev",
    "read",
    "readlink",
    "readlinkat",
    "readv",
    "rename",
    "rmdir",
    "stat",
    "statfs",
    "statx",
    "unlink",
    "unlinkat",
    "utimensat",
    "write",
    "writev",
    /* events and sockets */
    "accept",
    "accept4",
    "bind",
    "connect",
    "epoll_create",
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "eventfd",
    "eventfd2",
    "getpeername",
    "getsockname",
    "getsockopt",
    "ioctl",
    "listen",
    "pipe",
    "pipe2",
    "poll",
    "ppoll",
    "pselect6",
    "recvfrom",
    "recvmmsg",
    "recvmsg",
    "select",
    "sendfile",
    "sendmmsg",
    "sendmsg",
    "sendto",
    "setsockopt",
    "shutdown",
    "socketpair",
    "timerfd_create",
    "timerfd_settime",
};

/* Families of sockets: clients and upstream, the service manager, and what the resolver asks. */
static const int families[] = {AF_INET, AF_INET6, AF_UNIX, AF_NETLINK};

/* Where programs may be started: what they have no business with, whatever they are. */
static const char *const refused[] = {
    "_sysctl",
    "acct",
    "add_key",
    "adjtimex",
    "bpf",
    "chroot",
    "clock_adjtime",
    "clock_settime",
    "create_module",
    "delete_module",
    "fanotify_init",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "get_kernel_syms",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lookup_dcookie",
    "mbind",
    "mount",
    "mount_setattr",
    "move_mount",
    "move_pages",
    "name_to_handle_at",
    "nfsservctl",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "personality",
    "pidfd_getfd",
    "pivot_root",
    "process_madvise",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "query_module",
    "quotactl",
    "quotactl_fd",
    "reboot",
    "request_key",
    "setdomainname",
    "sethostname",
    "setns",
    "settimeofday",
    "stime",
    "swapoff",
    "swapon",
    "sysfs",
    "syslog",
    "umount",
    "umount2",
    "unshare",
    "uselib",
    "userfaultfd",
    "ustat",
    "vhangup",
    "vm86",
    "vm86old",
};

static int add_names(scmp_filter_ctx filter, uint32_t action, const char *const *names,
                     size_t count)
{
    int failed = 0;

    for (size_t i = 0; i < count && failed == 0; i++) {
        int number = seccomp_syscall_resolve_name(names[i]);
        if (number != __NR_SCMP_ERROR) {
            failed = seccomp_rule_add(filter, action, number, 0);
        }
    }
    return failed;
}

/* Memory that is written and executed at once, or is made executable later, is not to be had. */
static int add_memory(scmp_filter_ctx filter)
{
    int failed = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
                                  SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));

    if (failed == 0) { /* a library that the resolver loads */
        failed = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
                                  SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_WRITE, 0));
    }
    return failed != 0 ? failed
                       : seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
                                          SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
}

/* Threads, but no processes. clone3() cannot be looked into: the C library is told that there is
 * none, and uses clone(). */
static int add_threads(scmp_filter_ctx filter)
{
    const scmp_datum_t thread = 0x00010000; /* CLONE_THREAD */
    int failed = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                                  SCMP_A0(SCMP_CMP_MASKED_EQ, thread, thread));

    return failed != 0 ? failed
                       : seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

static int add_families(scmp_filter_ctx filter)
{
    int failed = 0;

    for (size_t i = 0; i < ARRAY_LEN(families) && failed == 0; i++) {
        failed = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
                                  SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i], 0));
    }
    return failed;
}

static int add_allowed(scmp_filter_ctx filter)
{
    int failed = add_names(filter, SCMP_ACT_ALLOW, allowed, ARRAY_LEN(allowed));

    failed = failed != 0 ? failed : add_memory(filter);
    failed = failed != 0 ? failed : add_threads(filter);
    return failed != 0 ? failed : add_families(filter);
}

bool seccomp_available(void)
{
    return true;
}

enum err seccomp_confine(bool commands, struct error *error)
{
    scmp_filter_ctx filter = seccomp_init(commands ? SCMP_ACT_ALLOW : SCMP_ACT_KILL_PROCESS);
    int failed = -ENOMEM;

    if (filter != NULL) {
        failed = commands ? add_names(filter, SCMP_ACT_KILL_PROCESS, refused, ARRAY_LEN(refused))
                          : add_allowed(filter);
        failed = failed != 0 ? failed : seccomp_load(filter);
        seccomp_release(filter);
    }
    return failed == 0
               ? OK
               : error_set(error, ERR_UNAVAILABLE, "the filter of system calls cannot be had: %s",
                           strerror(-failed));
}

#else

bool seccomp_available(void)
{
    return false;
}

enum err seccomp_confine(bool commands, struct error *error)
{
    (void)commands;
    return error_set(error, ERR_UNAVAILABLE, "this tollgate was built without libseccomp");
}

#endif
