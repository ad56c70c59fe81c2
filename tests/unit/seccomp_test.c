/* The filter of system calls: each case is a child that confines itself and then does one thing. */
#include "common/memory.h"
#include "gateway/seccomp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The wait status of a child that is confined and does one thing. Exit 100: no filter. */
static int status_of(bool commands, int (*act)(void))
{
    pid_t child = fork();
    int status = 0;

    if (child == 0) {
        (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if (seccomp_confine(commands, NULL) != OK) {
            _exit(100);
        }
        _exit(act());
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void assert_killed(bool commands, int (*act)(void))
{
    int status = status_of(commands, act);

    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSYS);
}

static void assert_done(bool commands, int (*act)(void))
{
    int status = status_of(commands, act);

    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- What is done ---- */

static int run_program(void)
{
    char *const argv[] = {"/bin/true", NULL};

    return execv(argv[0], argv);
}

static int spawn_program(void)
{
    char *const argv[] = {"/bin/true", NULL};
    pid_t child;
    int status = 0;

    if (posix_spawn(&child, argv[0], NULL, NULL, argv, NULL) != 0) {
        return 1;
    }
    return waitpid(child, &status, 0) == child ? WEXITSTATUS(status) : 1;
}

static int make_process(void)
{
    return fork() == 0 ? 0 : 1;
}

static int trace(void)
{
    return ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 ? 0 : 1;
}

static int read_memory_of_others(void)
{
    return syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0) == 0 ? 0 : 1;
}

static int mount_something(void)
{
    return (int)syscall(SYS_mount, "none", "/nowhere", "tmpfs", 0, NULL);
}

static int packet_socket(void)
{
    return socket(AF_PACKET, SOCK_RAW, 0) >= 0 ? 0 : 1;
}

static int writable_code(void)
{
    void *page =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page != MAP_FAILED ? 0 : 1;
}

static int data_to_code(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return mprotect(page, 4096, PROT_READ | PROT_EXEC);
}

static void *on_thread(void *arg)
{
    return arg;
}

static int ordinary_work(void)
{
    struct addrinfo *found = NULL;
    pthread_t thread;
    int fd = open("/etc/hosts", O_RDONLY | O_CLOEXEC);
    int net = socket(AF_INET6, SOCK_STREAM, 0);

    if (fd < 0 || net < 0 || close(fd) != 0 || close(net) != 0 ||
        pthread_create(&thread, NULL, on_thread, NULL) != 0 || pthread_join(thread, NULL) != 0 ||
        getaddrinfo("localhost", "80", NULL, &found) != 0) {
        return 1;
    }
    freeaddrinfo(found);
    return 0;
}

/* ---- The cases ---- */

static void test_a_gateway_does_its_work(void **state)
{
    (void)state;
    assert_done(false, ordinary_work);
}

static void test_no_programs_and_no_processes(void **state)
{
    (void)state;
    assert_killed(false, run_program);
    assert_killed(false, spawn_program);
    assert_killed(false, make_process);
}

static void test_no_looking_into_others(void **state)
{
    (void)state;
    assert_killed(false, trace);
    assert_killed(false, read_memory_of_others);
}

static void test_no_code_that_was_data(void **state)
{
    (void)state;
    assert_killed(false, writable_code);
    assert_killed(false, data_to_code);
}

static void test_nothing_of_the_machine(void **state)
{
    (void)state;
    assert_killed(false, mount_something);
    assert_killed(false, packet_socket);
}

/* With a command programs run, and the worst is still refused, to them too. */
static void test_with_commands(void **state)
{
    (void)state;
    assert_done(true, ordinary_work);
    assert_done(true, run_program);
    assert_done(true, spawn_program);
    assert_killed(true, trace);
    assert_killed(true, read_memory_of_others);
    assert_killed(true, mount_something);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_gateway_does_its_work),
        cmocka_unit_test(test_no_programs_and_no_processes),
        cmocka_unit_test(test_no_looking_into_others),
        cmocka_unit_test(test_no_code_that_was_data),
        cmocka_unit_test(test_nothing_of_the_machine),
        cmocka_unit_test(test_with_commands),
    };

    if (!seccomp_available()) {
        print_message("skipped: this build has no libseccomp\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
