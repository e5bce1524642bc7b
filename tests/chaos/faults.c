/* Makes file calls fail, shifts the wall clock, and lets time run faster, from outside of the program: loaded with LD_PRELOAD.
 *
 * WEHELP_FAULTS names a control file of eight 64-bit numbers, mapped by this process and written by the test; its order
 * is `struct control`. WEHELP_FAULTS_BOOT names a file that is read for the id of the machine's start. WEHELP_FAULTS_SPEED is
 * by how many times the monotonic clock, and what waits in epoll, runs faster. Only files below the folder WEHELP_FAULTS_DIR fail. The calls are made by number here, so that
 * nothing has to be looked up in libc, and this works before libc is ready. What a program asks the kernel for without
 * libc is not seen. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct control {
    _Atomic long long clock_ms; /* added to the wall clock */
    _Atomic long long calls;    /* a bit for each of `enum call`; 0: nothing fails */
    _Atomic long long after;    /* so many such calls succeed first */
    _Atomic long long count;    /* then so many fail; -1: all of them */
    _Atomic long long error;    /* with this errno */
    _Atomic long long torn;     /* not 0: a failing write writes half of its bytes first */
    _Atomic long long seen;     /* such calls since it was armed */
    _Atomic long long failed;   /* of which failed */
};

enum call { WRITE, SYNC, RENAME, OPEN, TRUNCATE, UNLINK };

static struct control *control;
static const char *boot;
static long long speed = 1;
static struct timespec started;
static char folder[4096];
static size_t folder_length;

__attribute__((constructor)) static void begin(void) {
    boot = getenv("WEHELP_FAULTS_BOOT");
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &started);
    const char *faster = getenv("WEHELP_FAULTS_SPEED");
    if (faster && atoll(faster) > 0)
        speed = atoll(faster);
    const char *path = getenv("WEHELP_FAULTS"), *dir = getenv("WEHELP_FAULTS_DIR");
    if (!path || !dir || strlen(dir) >= sizeof folder)
        return;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0)
        return;
    void *map = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    strcpy(folder, dir);
    folder_length = strlen(folder);
    if (map != MAP_FAILED)
        control = map;
}

static int is_ours(int fd, const char *path) {
    char link[64], target[4096];
    if (!path) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, target, sizeof target - 1);
        if (n < 0)
            return 0;
        target[n] = 0;
        path = target;
    }
    return strncmp(path, folder, folder_length) == 0;
}

/* Whether this call is to fail; errno is set then. */
static int fails(enum call call, int fd, const char *path) {
    if (!control || !(control->calls & (1LL << call)))
        return 0;
    int before = errno;
    int ours = is_ours(fd, path);
    errno = before;
    if (!ours)
        return 0;
    long long n = atomic_fetch_add(&control->seen, 1), count = control->count;
    if (n < control->after || (count >= 0 && n >= control->after + count))
        return 0;
    atomic_fetch_add(&control->failed, 1);
    errno = (int)control->error;
    return 1;
}

ssize_t write(int fd, const void *bytes, size_t size) {
    if (fails(WRITE, fd, NULL)) {
        if (!control->torn || size < 2)
            return -1;
        size /= 2;
    }
    return syscall(SYS_write, fd, bytes, size);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (fails(WRITE, fd, NULL))
        return -1;
    return syscall(SYS_writev, fd, parts, count);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at) {
    if (fails(WRITE, fd, NULL)) {
        if (!control->torn || size < 2)
            return -1;
        size /= 2;
    }
    return syscall(SYS_pwrite64, fd, bytes, size, at);
}

int fdatasync(int fd) { return fails(SYNC, fd, NULL) ? -1 : (int)syscall(SYS_fdatasync, fd); }

int fsync(int fd) { return fails(SYNC, fd, NULL) ? -1 : (int)syscall(SYS_fsync, fd); }

int rename(const char *from, const char *to) {
    return fails(RENAME, -1, to) ? -1 : (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int ftruncate64(int fd, off64_t size) { return fails(TRUNCATE, fd, NULL) ? -1 : (int)syscall(SYS_ftruncate, fd, size); }

int unlink(const char *path) { return fails(UNLINK, -1, path) ? -1 : (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0); }

/* Only what makes a file fails: a full disk can be read. */
int open64(const char *path, int flags, ...) {
    mode_t mode = 0;
    if (boot && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0)
        path = boot;
    if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) {
        va_list more;
        va_start(more, flags);
        mode = va_arg(more, mode_t);
        va_end(more);
        if ((flags & O_CREAT) && fails(OPEN, -1, path))
            return -1;
    }
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int done = (int)syscall(SYS_clock_gettime, clock, time);
    if (done == 0 && control && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        long long shift = control->clock_ms, nanos = time->tv_nsec + shift % 1000 * 1000000;
        time->tv_sec += shift / 1000 + (nanos < 0 ? -1 : nanos / 1000000000);
        time->tv_nsec = nanos < 0 ? nanos + 1000000000 : nanos % 1000000000;
    }
    if (done == 0 && clock == CLOCK_MONOTONIC && speed > 1 && started.tv_sec) {
        long long nanos = (time->tv_sec - started.tv_sec) * 1000000000 + time->tv_nsec - started.tv_nsec;
        nanos = nanos * speed + started.tv_nsec;
        time->tv_sec = started.tv_sec + nanos / 1000000000;
        time->tv_nsec = nanos % 1000000000;
    }
    return done;
}

int epoll_wait(int fd, struct epoll_event *events, int count, int timeout) {
    if (timeout > 0)
        timeout = (int)((timeout + speed - 1) / speed);
    return (int)syscall(SYS_epoll_pwait, fd, events, count, timeout, NULL, (size_t)8);
}
