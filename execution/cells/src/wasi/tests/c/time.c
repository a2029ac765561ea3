// Clocks, sleeping, polling and randomness.
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHECK(fact) do { if (!(fact)) { fprintf(stderr, "line %d: %s (errno %d)\n", __LINE__, #fact, errno); failed = 1; } } while (0)
static int failed;

static long long now(clockid_t clock) {
    struct timespec t;
    CHECK(clock_gettime(clock, &t) == 0);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(void) {
    struct timespec t;
    CHECK(clock_getres(CLOCK_MONOTONIC, &t) == 0 && t.tv_nsec > 0);
    CHECK(clock_getres(CLOCK_REALTIME, &t) == 0 && t.tv_nsec > 0);
    CHECK(now(CLOCK_REALTIME) > 1600000000000000000LL);
    long long before = now(CLOCK_MONOTONIC);
    CHECK(nanosleep(&(struct timespec){0, 20000000}, NULL) == 0);
    long long after = now(CLOCK_MONOTONIC);
    CHECK(after - before >= 20000000 && after - before < 2000000000LL);
    long long due = now(CLOCK_REALTIME) + 10000000;
    struct timespec until = {due / 1000000000, due % 1000000000};
    CHECK(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, NULL) == 0);
    CHECK(now(CLOCK_REALTIME) >= due);
    CHECK(poll(NULL, 0, 5) == 0);
    struct pollfd fds[2] = {{.fd = 0, .events = POLLIN}, {.fd = 1, .events = POLLOUT}};
    CHECK(poll(fds, 2, -1) == 2 && (fds[1].revents & POLLOUT));
    char one[16] = {0}, two[16] = {0};
    CHECK(getentropy(one, 16) == 0 && getentropy(two, 16) == 0 && memcmp(one, two, 16) != 0);
    return failed;
}
