/* Uses the files below its argument, and says what it sees: the same in any file system. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[2][256];

static const char *in(int which, const char *root, const char *name) {
    snprintf(path[which], sizeof path[which], "%s/%s", root, name);
    return path[which];
}

static void list(const char *root, const char *name) {
    struct dirent **found;
    int count = scandir(in(0, root, name), &found, NULL, alphasort);
    printf("%s:", name);
    for (int i = 0; i < count; i++) {
        struct stat s;
        char whole[600];
        snprintf(whole, sizeof whole, "%s/%s", path[0], found[i]->d_name);
        if (found[i]->d_name[0] == '.') continue;
        stat(whole, &s);
        printf(" %s", found[i]->d_name);
        if (S_ISREG(s.st_mode)) printf("(%lld)", (long long)s.st_size);
    }
    printf("\n");
}

static void show(const char *what, int fd) {
    char bytes[64] = {0};
    ssize_t read = pread(fd, bytes, sizeof bytes - 1, 0);
    for (ssize_t i = 0; i < read; i++) if (bytes[i] == 0) bytes[i] = '.';
    printf("%s: %s\n", what, bytes);
}

static void said(const char *what, int result) {
    printf("%s: %s\n", what, result == -1 ? strerror(errno) : "done");
}

static void all(const char *root) {
    said("mkdir", mkdir(in(0, root, "run"), 0700));
    int fd = open(in(0, root, "run/log"), O_CREAT | O_EXCL | O_RDWR, 0600);
    dprintf(fd, "one two three");
    said("exclusive", open(in(0, root, "run/log"), O_CREAT | O_EXCL | O_RDWR, 0600));
    pwrite(fd, "TWO", 3, 4);
    pwrite(fd, "far", 3, 20);
    show("pwrite", fd);
    ftruncate(fd, 9);
    ftruncate(fd, 12);
    show("truncate", fd);
    said("fsync", fsync(fd));
    close(fd);
    fd = open(in(0, root, "run/log"), O_WRONLY | O_APPEND);
    dprintf(fd, "appended");
    close(fd);
    fd = open(in(0, root, "run/log"), O_RDONLY);
    show("append", fd);
    list(root, "run");
    said("rename", rename(in(0, root, "run/log"), in(1, root, "run/final")));
    show("renamed", fd);
    said("rename folder", rename(in(0, root, "run"), in(1, root, "kept")));
    list(root, ".");
    said("old name", open(in(0, root, "run/final"), O_RDONLY));
    int gone = open(in(0, root, "kept/gone"), O_CREAT | O_RDWR, 0600);
    dprintf(gone, "nobody");
    said("unlink", unlink(in(0, root, "kept/gone")));
    show("unlinked", gone);
    said("rmdir", rmdir(in(0, root, "kept")));
    said("escape", open(in(0, root, "../etc/passwd"), O_RDONLY));
    said("as a folder", open(in(0, root, "kept/final/x"), O_RDONLY));
    list(root, "kept");
    /* Left open: the end of the program closes it. */
    fd = open(in(0, root, "kept/last"), O_CREAT | O_WRONLY, 0600);
    for (int i = 0; i < 20000; i++) dprintf(fd, "%09d\n", i);
}

int main(int argc, char **argv) {
    const char *root = argv[1], *what = argc > 2 ? argv[2] : "all";
    if (strcmp(what, "all") == 0) {
        all(root);
        return 0;
    }
    if (strcmp(what, "trap") == 0) {
        int fd = open(in(0, root, "trapped"), O_CREAT | O_WRONLY, 0600);
        dprintf(fd, "half");
        __builtin_trap();
    }
    /* Writes half, asks for the rest, writes it. */
    int input = open(in(0, root, "kept/final"), O_RDONLY), fd = open(in(1, root, "halves"), O_CREAT | O_RDWR, 0600);
    char bytes[64] = {0};
    read(input, bytes, 4);
    dprintf(fd, "%s, half, ", bytes);
    printf("half\n");
    fflush(stdout);
    memset(bytes, 0, sizeof bytes);
    ssize_t more = read(0, bytes, sizeof bytes);
    write(fd, bytes, more);
    memset(bytes, 0, sizeof bytes);
    read(input, bytes, sizeof bytes);
    dprintf(fd, "%s", bytes);
    printf("whole\n");
    return close(fd);
}
