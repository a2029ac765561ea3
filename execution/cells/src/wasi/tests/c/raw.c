// The functions themselves, where the library hides them.
#include <stdio.h>
#include <string.h>
#include <wasi/api.h>

#define CHECK(fact) do { if (!(fact)) { fprintf(stderr, "line %d: %s\n", __LINE__, #fact); failed = 1; } } while (0)
#define IS(call, name) do { int got = (call); if (got != __WASI_ERRNO_##name) { fprintf(stderr, "line %d: %s gave %d\n", __LINE__, #call, got); failed = 1; } } while (0)
static int failed;

enum { DATA = 3 };
static const __wasi_rights_t RW = __WASI_RIGHTS_FD_READ | __WASI_RIGHTS_FD_WRITE;

static void rights(void) {
    __wasi_fd_t fd, dir, child;
    __wasi_fdstat_t stat;
    IS(__wasi_fd_fdstat_get(DATA, &stat), SUCCESS);
    CHECK(stat.fs_filetype == __WASI_FILETYPE_DIRECTORY);
    CHECK(stat.fs_rights_inheriting & __WASI_RIGHTS_FD_WRITE);
    IS(__wasi_path_open(DATA, 0, "r", __WASI_OFLAGS_CREAT, RW, 0, 0, &fd), SUCCESS);
    IS(__wasi_fd_fdstat_get(fd, &stat), SUCCESS);
    CHECK((stat.fs_rights_base & RW) == RW && stat.fs_filetype == __WASI_FILETYPE_REGULAR_FILE);
    IS(__wasi_fd_fdstat_set_rights(fd, ~0ull, 0), NOTCAPABLE);
    IS(__wasi_fd_fdstat_set_rights(fd, __WASI_RIGHTS_FD_READ, 0), SUCCESS);
    __wasi_ciovec_t part = {(const uint8_t *)"x", 1};
    __wasi_size_t done;
    IS(__wasi_fd_write(fd, &part, 1, &done), NOTCAPABLE);
    IS(__wasi_fd_sync(fd), NOTCAPABLE);
    IS(__wasi_fd_fdstat_set_rights(fd, __WASI_RIGHTS_FD_READ | __WASI_RIGHTS_FD_WRITE, 0), NOTCAPABLE);
    IS(__wasi_path_create_directory(DATA, "sub"), SUCCESS);
    IS(__wasi_path_open(DATA, 0, "sub", __WASI_OFLAGS_DIRECTORY,
        __WASI_RIGHTS_PATH_OPEN | __WASI_RIGHTS_PATH_CREATE_FILE, __WASI_RIGHTS_FD_READ, 0, &dir), SUCCESS);
    IS(__wasi_path_open(dir, 0, "f", __WASI_OFLAGS_CREAT, RW, 0, 0, &child), NOTCAPABLE);
    IS(__wasi_path_open(dir, 0, "f", __WASI_OFLAGS_CREAT, __WASI_RIGHTS_FD_READ, 0, 0, &child), SUCCESS);
    IS(__wasi_path_unlink_file(dir, "f"), NOTCAPABLE);
    IS(__wasi_path_open(dir, 0, "f", __WASI_OFLAGS_TRUNC, __WASI_RIGHTS_FD_READ, 0, 0, &child), NOTCAPABLE);
    IS(__wasi_path_open(dir, 0, "../r", 0, __WASI_RIGHTS_FD_READ, 0, 0, &child), PERM);
}

static void kinds(void) {
    __wasi_fd_t dir, fd;
    __wasi_size_t n;
    __wasi_filesize_t at;
    uint8_t bytes[8];
    __wasi_iovec_t into = {bytes, 8};
    __wasi_ciovec_t from = {bytes, 8};
    IS(__wasi_path_open(DATA, 0, "sub", __WASI_OFLAGS_DIRECTORY, 0, 0, 0, &dir), SUCCESS);
    IS(__wasi_fd_read(dir, &into, 1, &n), BADF);
    IS(__wasi_fd_write(dir, &from, 1, &n), BADF);
    IS(__wasi_fd_pread(dir, &into, 1, 0, &n), BADF);
    IS(__wasi_fd_seek(dir, 0, __WASI_WHENCE_CUR, &at), BADF);
    IS(__wasi_fd_tell(dir, &at), BADF);
    IS(__wasi_fd_allocate(dir, 0, 1), BADF);
    IS(__wasi_fd_filestat_set_size(dir, 0), BADF);
    IS(__wasi_fd_sync(dir), SUCCESS);
    IS(__wasi_fd_prestat_dir_name(DATA, bytes, 2), NAMETOOLONG);
    IS(__wasi_fd_prestat_dir_name(DATA, bytes, 5), SUCCESS);
    CHECK(memcmp(bytes, "/data", 5) == 0);
    __wasi_prestat_t prestat;
    IS(__wasi_fd_prestat_get(dir, &prestat), BADF);
    IS(__wasi_fd_prestat_get(0, &prestat), BADF);
    IS(__wasi_fd_seek(0, 0, __WASI_WHENCE_CUR, &at), SPIPE);
    IS(__wasi_fd_pread(0, &into, 1, 0, &n), SPIPE);
    IS(__wasi_path_open(DATA, 0, "r", 0, RW, 0, 0, &fd), SUCCESS);
    IS(__wasi_path_open(fd, 0, "x", 0, 0, 0, 0, &fd), NOTDIR);
    IS(__wasi_fd_readdir(fd, bytes, 8, 0, &n), NOTDIR);
    IS(__wasi_path_open(DATA, 0, "sub", 0, RW, 0, 0, &fd), ISDIR);
    IS(__wasi_path_open(DATA, 0, "new", __WASI_OFLAGS_CREAT | __WASI_OFLAGS_DIRECTORY, 0, 0, 0, &fd), INVAL);
    IS(__wasi_path_open(DATA, 0, "new", 1 << 4, 0, 0, 0, &fd), INVAL);
    IS(__wasi_path_open(DATA, 2, "new", 0, 0, 0, 0, &fd), INVAL);
    IS(__wasi_path_open(DATA, 0, "", 0, 0, 0, 0, &fd), NOENT);
    IS(__wasi_path_open(DATA, 0, "/data", 0, 0, 0, 0, &fd), PERM);
    IS(__wasi_path_open(DATA, 0, "..", 0, 0, 0, 0, &fd), PERM);
    IS(__wasi_path_open(DATA, 0, "sub/../../x", 0, 0, 0, 0, &fd), PERM);
    IS(__wasi_path_open(DATA, 0, "sub/../r", 0, 0, 0, 0, &fd), SUCCESS);
    IS(__wasi_path_open(DATA, 0, "./sub/.//", 0, 0, 0, 0, &fd), SUCCESS);
    IS(__wasi_path_create_directory(DATA, "../x"), PERM);
    IS(__wasi_path_create_directory(DATA, ".."), PERM);
    IS(__wasi_path_create_directory(DATA, "."), EXIST);
    IS(__wasi_path_remove_directory(DATA, "."), INVAL);
    IS(__wasi_path_create_directory(DATA, "slashes//"), SUCCESS);
    IS(__wasi_path_rename(DATA, "slashes/", DATA, "renamed/"), SUCCESS);
    IS(__wasi_path_rename(DATA, "r/", DATA, "s"), NOTDIR);
    IS(__wasi_path_rename(DATA, "r", DATA, "../s"), PERM);
    IS(__wasi_path_remove_directory(DATA, "renamed//"), SUCCESS);
    IS(__wasi_path_filestat_set_times(DATA, 0, "r", 0, 0, 3), INVAL);
    IS(__wasi_path_filestat_set_times(DATA, 0, "r", 0, 0, 16), INVAL);
    __wasi_filestat_t stat;
    IS(__wasi_path_filestat_set_times(DATA, 0, "r", 5, 0, 1 | 8), SUCCESS);
    IS(__wasi_path_filestat_get(DATA, 0, "r", &stat), SUCCESS);
    CHECK(stat.atim == 5 && stat.mtim > 1000000000000000000ull && stat.filetype == __WASI_FILETYPE_REGULAR_FILE);
    IS(__wasi_fd_close(99), BADF);
    IS(__wasi_sock_shutdown(1, 1), NOTSOCK);
    IS(__wasi_sock_shutdown(99, 1), BADF);
    IS(__wasi_sched_yield(), SUCCESS);
}

static void renumber(void) {
    __wasi_fd_t a, b;
    __wasi_filestat_t one, two;
    IS(__wasi_path_open(DATA, 0, "r", 0, RW, 0, 0, &a), SUCCESS);
    IS(__wasi_path_open(DATA, 0, "other", __WASI_OFLAGS_CREAT, RW, 0, 0, &b), SUCCESS);
    IS(__wasi_fd_filestat_get(a, &one), SUCCESS);
    IS(__wasi_fd_renumber(a, b), SUCCESS);
    IS(__wasi_fd_filestat_get(a, &two), BADF);
    IS(__wasi_fd_filestat_get(b, &two), SUCCESS);
    CHECK(one.ino == two.ino);
    IS(__wasi_fd_renumber(b, b), SUCCESS);
    IS(__wasi_fd_renumber(b, 500), BADF);
    IS(__wasi_fd_renumber(500, b), BADF);
    IS(__wasi_fd_fdstat_set_flags(b, 1 << 5), INVAL);
    IS(__wasi_fd_fdstat_set_flags(b, __WASI_FDFLAGS_SYNC | __WASI_FDFLAGS_NONBLOCK), SUCCESS);
}

static void readdir(void) {
    uint8_t all[512], part[40];
    __wasi_size_t used, n;
    __wasi_fd_t dir;
    IS(__wasi_path_create_directory(DATA, "list"), SUCCESS);
    IS(__wasi_path_symlink("x", DATA, "list/link"), SUCCESS);
    IS(__wasi_path_open(DATA, 0, "list", __WASI_OFLAGS_DIRECTORY, 0, 0, 0, &dir), SUCCESS);
    IS(__wasi_fd_readdir(dir, all, sizeof all, 0, &used), SUCCESS);
    CHECK(used == 3 * 24 + 1 + 2 + 4);
    __wasi_dirent_t e;
    memcpy(&e, all, sizeof e);
    CHECK(e.d_namlen == 1 && e.d_type == __WASI_FILETYPE_DIRECTORY && all[24] == '.');
    IS(__wasi_fd_readdir(dir, part, sizeof part, 0, &n), SUCCESS);
    CHECK(n == sizeof part && memcmp(part, all, n) == 0);
    IS(__wasi_fd_readdir(dir, part, sizeof part, e.d_next, &n), SUCCESS);
    CHECK(n == sizeof part && memcmp(part, all + 25, n) == 0);
    memcpy(&e, all + 25, sizeof e);
    IS(__wasi_fd_readdir(dir, part, sizeof part, e.d_next, &n), SUCCESS);
    CHECK(n == 28 && memcmp(part + 24, "link", 4) == 0);
    memcpy(&e, part, sizeof e);
    CHECK(e.d_type == __WASI_FILETYPE_SYMBOLIC_LINK);
    IS(__wasi_fd_readdir(dir, part, sizeof part, e.d_next, &n), SUCCESS);
    CHECK(n == 0);
    IS(__wasi_fd_readdir(dir, part, 0, 0, &n), SUCCESS);
    CHECK(n == 0);
}

static void poll(void) {
    __wasi_subscription_t subs[3] = {0};
    __wasi_event_t events[3];
    __wasi_size_t n;
    IS(__wasi_poll_oneoff(subs, events, 0, &n), INVAL);
    subs[0].userdata = 11;
    subs[0].u.tag = __WASI_EVENTTYPE_CLOCK;
    subs[0].u.u.clock.id = __WASI_CLOCKID_MONOTONIC;
    subs[0].u.u.clock.timeout = 10000000000ull;
    subs[1].userdata = 22;
    subs[1].u.tag = __WASI_EVENTTYPE_FD_READ;
    subs[1].u.u.fd_read.file_descriptor = 77;
    subs[2].userdata = 33;
    subs[2].u.tag = __WASI_EVENTTYPE_FD_WRITE;
    subs[2].u.u.fd_write.file_descriptor = 1;
    IS(__wasi_poll_oneoff(subs, events, 3, &n), SUCCESS);
    CHECK(n == 2 && events[0].userdata == 22 && events[0].error == __WASI_ERRNO_BADF);
    CHECK(events[1].userdata == 33 && events[1].type == __WASI_EVENTTYPE_FD_WRITE && events[1].error == 0);
    subs[0].u.u.clock.timeout = 1000000;
    IS(__wasi_poll_oneoff(subs, events, 1, &n), SUCCESS);
    CHECK(n == 1 && events[0].userdata == 11 && events[0].type == __WASI_EVENTTYPE_CLOCK);
    subs[0].u.u.clock.id = 9;
    IS(__wasi_poll_oneoff(subs, events, 1, &n), SUCCESS);
    CHECK(n == 1 && events[0].error == __WASI_ERRNO_INVAL);
}

// With a length of its own, which the library's declaration takes from the string.
__attribute__((import_module("wasi_snapshot_preview1"), import_name("path_create_directory")))
int32_t create_directory(int32_t fd, int32_t path, int32_t length);

static void pointers(void) {
    __wasi_size_t n;
    __wasi_iovec_t outside = {(uint8_t *)0xfffffff0u, 64}, huge[2] = {{0, 0x10000}, {0, 0xffffffffu}};
    uint8_t *bad = (uint8_t *)0xfffffffcu;
    IS(__wasi_fd_read(0, &outside, 1, &n), FAULT);
    IS(__wasi_fd_write(1, (__wasi_ciovec_t *)huge, 2, &n), FAULT);
    IS(__wasi_fd_write(1, (__wasi_ciovec_t *)bad, 1, &n), FAULT);
    IS(__wasi_fd_write(1, 0, 0x20000000u, &n), INVAL);
    IS(__wasi_random_get(bad, 8), FAULT);
    IS(__wasi_args_get((uint8_t **)bad, bad), FAULT);
    IS(__wasi_clock_time_get(1, 0, (void *)bad), FAULT);
    IS(__wasi_clock_time_get(9, 0, (void *)&n), INVAL);
    IS(__wasi_poll_oneoff((void *)bad, (void *)bad, 1, &n), FAULT);
    IS(__wasi_fd_readdir(DATA, bad, 64, 0, &n), FAULT);
    IS(__wasi_random_get(0, 0), SUCCESS);
    char nul[3] = {'a', 0, 'b'};
    IS(create_directory(DATA, (int32_t)nul, 3), INVAL);
    IS(create_directory(DATA, (int32_t)"\xff", 1), ILSEQ);
    IS(create_directory(DATA, 0, 5000), NAMETOOLONG);
    IS(create_directory(DATA, -16, 32), FAULT);
}

int main(void) {
    rights();
    kinds();
    renumber();
    readdir();
    poll();
    pointers();
    return failed;
}
