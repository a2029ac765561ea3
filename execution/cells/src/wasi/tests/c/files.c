// Files through stdio and POSIX calls.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define CHECK(fact) do { if (!(fact)) { fprintf(stderr, "line %d: %s (errno %d)\n", __LINE__, #fact, errno); failed = 1; } } while (0)
static int failed;

static void stdio_seeks(void) {
    FILE *f = fopen("/data/a", "w+");
    CHECK(f != NULL);
    CHECK(fputs("hello world", f) >= 0);
    CHECK(fseek(f, 6, SEEK_SET) == 0);
    char word[16] = {0};
    CHECK(fread(word, 1, 5, f) == 5 && strcmp(word, "world") == 0);
    CHECK(ftell(f) == 11);
    CHECK(fseek(f, -5, SEEK_END) == 0 && fgetc(f) == 'w');
    CHECK(fclose(f) == 0);
    f = fopen("/data/a", "a");
    CHECK(fputs("!", f) >= 0 && fclose(f) == 0);
    struct stat s;
    CHECK(stat("/data/a", &s) == 0 && s.st_size == 12 && S_ISREG(s.st_mode) && s.st_nlink == 1);
    CHECK(s.st_ino != 0 && s.st_mtim.tv_sec > 1000000000);
}

static void vectors_and_places(void) {
    int fd = open("/data/v", O_CREAT | O_RDWR | O_TRUNC, 0600);
    CHECK(fd > 3);
    struct iovec parts[3] = {{"ab", 2}, {"", 0}, {"cde", 3}};
    CHECK(writev(fd, parts, 3) == 5);
    CHECK(lseek(fd, 0, SEEK_CUR) == 5);
    CHECK(pwrite(fd, "X", 1, 1) == 1);
    CHECK(lseek(fd, 0, SEEK_CUR) == 5);
    char got[6] = {0};
    CHECK(pread(fd, got, 5, 0) == 5 && strcmp(got, "aXcde") == 0);
    CHECK(lseek(fd, -1, SEEK_SET) == -1 && errno == EINVAL);
    CHECK(lseek(fd, 100, SEEK_SET) == 100 && read(fd, got, 1) == 0);
    CHECK(write(fd, "end", 3) == 3);
    struct stat s;
    CHECK(fstat(fd, &s) == 0 && s.st_size == 103);
    CHECK(ftruncate(fd, 3) == 0 && fstat(fd, &s) == 0 && s.st_size == 3);
    CHECK(ftruncate(fd, 10) == 0 && pread(fd, got, 5, 3) == 5 && got[0] == 0);
    CHECK(posix_fallocate(fd, 0, 4096) == 0 && fstat(fd, &s) == 0 && s.st_size == 4096);
    CHECK(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL) == 0);
    CHECK(fsync(fd) == 0 && fdatasync(fd) == 0);
    CHECK(close(fd) == 0 && close(fd) == -1 && errno == EBADF);
}

static void append(void) {
    int a = open("/data/log", O_CREAT | O_WRONLY | O_APPEND, 0600);
    int b = open("/data/log", O_WRONLY);
    CHECK(write(b, "abc", 3) == 3);
    CHECK(write(a, "d", 1) == 1 && lseek(a, 0, SEEK_CUR) == 4);
    CHECK(lseek(a, 0, SEEK_SET) == 0 && write(a, "e", 1) == 1);
    CHECK(pwrite(a, "A", 1, 0) == 1);
    CHECK(fcntl(b, F_GETFL) == O_WRONLY);
    CHECK(fcntl(b, F_SETFL, O_APPEND) == 0 && write(b, "f", 1) == 1);
    CHECK(fcntl(b, F_GETFL) == (O_WRONLY | O_APPEND));
    char got[8] = {0};
    CHECK(read(a, got, 8) == -1 && errno == EBADF);
    int r = open("/data/log", O_RDONLY);
    CHECK(read(r, got, 8) == 6 && strcmp(got, "Abcdef") == 0);
    CHECK(write(r, "x", 1) == -1 && errno == EBADF);
}

static void opening(void) {
    CHECK(open("/data/none", O_RDONLY) == -1 && errno == ENOENT);
    CHECK(open("/data/a", O_CREAT | O_EXCL | O_RDWR, 0600) == -1 && errno == EEXIST);
    CHECK(open("/data/a", O_RDONLY | O_DIRECTORY) == -1 && errno == ENOTDIR);
    CHECK(open("/data/a/", O_RDONLY) == -1 && errno == ENOTDIR);
    CHECK(open("/data", O_RDWR) == -1 && errno == EISDIR);
    int fd = open("/data/a", O_RDWR | O_TRUNC);
    struct stat s;
    CHECK(fstat(fd, &s) == 0 && s.st_size == 0);
    CHECK(unlink("/data/a") == 0 && write(fd, "still", 5) == 5);
    CHECK(fstat(fd, &s) == 0 && s.st_size == 5 && s.st_nlink == 0);
    CHECK(stat("/data/a", &s) == -1 && errno == ENOENT);
}

static void many(void) {
    int last = -1;
    for (int i = 0; i < 2000; i++) {
        int fd = open("/data/v", O_RDONLY);
        if (fd < 0) break;
        last = fd;
    }
    CHECK(errno == EMFILE && last == 1023);
}

int main(void) {
    stdio_seeks();
    vectors_and_places();
    append();
    opening();
    CHECK(isatty(1) == 0);
    many();
    return failed;
}
