// Directories, links and names.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECK(fact) do { if (!(fact)) { fprintf(stderr, "line %d: %s (errno %d)\n", __LINE__, #fact, errno); failed = 1; } } while (0)
#define FAILS(call, number) CHECK((call) == -1 && errno == (number))
static int failed;

static void touch(const char *path) {
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    CHECK(fd >= 0 && close(fd) == 0);
}

static void listing(void) {
    CHECK(mkdir("/data/many", 0700) == 0);
    char name[64];
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "/data/many/a-rather-long-file-name-%03d", i);
        touch(name);
    }
    DIR *d = opendir("/data/many");
    CHECK(d != NULL);
    int files = 0, dots = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) {
            dots++;
            CHECK(e->d_type == DT_DIR);
            continue;
        }
        files++;
        CHECK(e->d_type == DT_REG);
        // Removing what was listed must not make the rest be skipped.
        CHECK(unlinkat(dirfd(d), e->d_name, 0) == 0);
    }
    CHECK(files == 300 && dots == 2);
    rewinddir(d);
    files = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;) files++;
    CHECK(files == 2);
    closedir(d);
    CHECK(rmdir("/data/many") == 0);
}

static void names(void) {
    CHECK(mkdir("/data/d", 0700) == 0);
    FAILS(mkdir("/data/d", 0700), EEXIST);
    FAILS(mkdir("/data/none/d", 0700), ENOENT);
    touch("/data/f");
    FAILS(rmdir("/data/f"), ENOTDIR);
    FAILS(unlink("/data/d"), EISDIR);
    FAILS(unlink("/data/none"), ENOENT);
    FAILS(unlink("/data/f/"), ENOTDIR);
    FAILS(mkdir("/data/f/x", 0700), ENOTDIR);
    touch("/data/d/x");
    FAILS(rmdir("/data/d"), ENOTEMPTY);
    FAILS(rename("/data/f", "/data/d"), EISDIR);
    FAILS(rename("/data/d", "/data/f"), ENOTDIR);
    FAILS(rename("/data/none", "/data/g"), ENOENT);
    CHECK(rename("/data/f", "/data/d/x") == 0);
    FAILS(access("/data/f", F_OK), ENOENT);
    CHECK(rename("/data/d", "/data/e") == 0);
    CHECK(unlink("/data/e/x") == 0 && rmdir("/data/e/") == 0);
}

static void links(void) {
    touch("/data/file");
    struct stat s;
    char got[32] = {0};
    CHECK(link("/data/file", "/data/hard") == 0);
    CHECK(stat("/data/hard", &s) == 0 && s.st_nlink == 2);
    FAILS(link("/data/file", "/data/hard"), EEXIST);
    CHECK(unlink("/data/hard") == 0);
    CHECK(symlink("file", "/data/soft") == 0);
    CHECK(readlink("/data/soft", got, sizeof got) == 4 && strcmp(got, "file") == 0);
    CHECK(readlink("/data/soft", got, 2) == 2);
    FAILS(readlink("/data/file", got, sizeof got), EINVAL);
    CHECK(lstat("/data/soft", &s) == 0 && S_ISLNK(s.st_mode) && s.st_size == 4);
    CHECK(stat("/data/soft", &s) == 0 && S_ISREG(s.st_mode));
    FAILS(open("/data/soft", O_RDONLY | O_NOFOLLOW), ELOOP);
    CHECK(symlink("gone", "/data/dangling") == 0);
    FAILS(open("/data/dangling", O_RDONLY), ENOENT);
    FAILS(stat("/data/dangling", &s), ENOENT);
    FAILS(open("/data/dangling", O_CREAT | O_EXCL | O_WRONLY, 0600), EEXIST);
    touch("/data/dangling");
    CHECK(stat("/data/gone", &s) == 0);
    CHECK(symlink("two", "/data/one") == 0 && symlink("one", "/data/two") == 0);
    FAILS(open("/data/one", O_RDONLY), ELOOP);
    FAILS(stat("/data/one", &s), ELOOP);
    CHECK(lstat("/data/one", &s) == 0);
    CHECK(symlink("../../../etc/passwd", "/data/out") == 0);
    FAILS(open("/data/out", O_RDONLY), EPERM);
    FAILS(symlink("/etc/passwd", "/data/absolute"), EPERM);
    FAILS(symlink("x", "/data/file"), EEXIST);
    int dir = open("/data", O_RDONLY | O_DIRECTORY);
    FAILS(openat(dir, "../etc", O_RDONLY), EPERM);
    FAILS(linkat(dir, "out", dir, "stolen", AT_SYMLINK_FOLLOW), EPERM);
    CHECK(linkat(dir, "soft", dir, "followed", AT_SYMLINK_FOLLOW) == 0);
    CHECK(lstat("/data/followed", &s) == 0 && S_ISREG(s.st_mode));
    CHECK(linkat(dir, "soft", dir, "kept", 0) == 0);
    CHECK(lstat("/data/kept", &s) == 0 && S_ISLNK(s.st_mode));
}

static void times(int with_links) {
    touch("/data/t");
    struct timespec set[2] = {{1000, 1}, {2000, 999999999}};
    struct stat s;
    CHECK(utimensat(AT_FDCWD, "/data/t", set, 0) == 0 && stat("/data/t", &s) == 0);
    CHECK(s.st_atim.tv_sec == 1000 && s.st_atim.tv_nsec == 1);
    CHECK(s.st_mtim.tv_sec == 2000 && s.st_mtim.tv_nsec == 999999999);
    set[0] = (struct timespec){3000, 0};
    set[1] = (struct timespec){4000, 0};
    int fd = open("/data/t", O_RDWR);
    CHECK(futimens(fd, set) == 0 && fstat(fd, &s) == 0);
    CHECK(s.st_atim.tv_sec == 3000 && s.st_mtim.tv_sec == 4000);
    if (!with_links) return;
    CHECK(symlink("t", "/data/tlink") == 0);
    set[0] = (struct timespec){77, 0};
    set[1] = (struct timespec){88, 0};
    CHECK(utimensat(AT_FDCWD, "/data/tlink", set, AT_SYMLINK_NOFOLLOW) == 0);
    CHECK(lstat("/data/tlink", &s) == 0 && s.st_mtim.tv_sec == 88);
    CHECK(stat("/data/tlink", &s) == 0 && s.st_mtim.tv_sec == 4000);
}

// An argument says that there are no links where it runs.
int main(int argc, char **argv) {
    (void)argv;
    listing();
    names();
    if (argc < 2) links();
    times(argc < 2);
    return failed;
}
