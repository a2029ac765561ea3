/* How long a program's own calls take on files: file_times FOLDER COUNT prints a name and the
   median in microseconds, a line for each. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NAMES 16

static unsigned char bytes[1 << 20];
static double *taken;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static int by_size(const void *one, const void *other) {
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

static void report(const char *name, int count) {
    qsort(taken, (size_t)count, sizeof *taken, by_size);
    printf("%s %.3f\n", name, taken[count / 2]);
}

/* Opens a new file, writes all of it and closes it. */
static int put(const char *path, size_t size) {
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
    if (file < 0) return 0;
    int good = write(file, bytes, size) == (ssize_t)size;
    return close(file) == 0 && good;
}

/* Opens a file, reads all of it and closes it. */
static int get(const char *path, size_t size) {
    int file = open(path, O_RDONLY);
    if (file < 0) return 0;
    int good = pread(file, bytes, size, 0) == (ssize_t)size;
    return close(file) == 0 && good;
}

static int measure(const char *folder, const char *name, size_t size, int count,
                   int (*act)(const char *, size_t)) {
    char path[256];
    for (int number = 0; number < count; number++) {
        snprintf(path, sizeof path, "%s/%zu-%d", folder, size, number % NAMES);
        if (act == put) unlink(path);
        double started = now();
        if (!act(path, size)) return perror(path), 0;
        taken[number] = now() - started;
    }
    report(name, count);
    return 1;
}

int main(int count, char **arguments) {
    if (count != 3) return 2;
    int times = atoi(arguments[2]);
    taken = malloc((size_t)times * sizeof *taken);
    if (!taken || times < 1) return 2;
    memset(bytes, 7, sizeof bytes);
    const char *folder = arguments[1];
    int large = times / 5 + 1;
    return !(measure(folder, "write-1KiB", 1 << 10, times, put) &&
             measure(folder, "write-64KiB", 64 << 10, times, put) &&
             measure(folder, "write-1MiB", 1 << 20, large, put) &&
             measure(folder, "read-64KiB", 64 << 10, times, get));
}
