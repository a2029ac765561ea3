/* A service whose whole state is a number and a ballast of memory: what the tests ask it. */
#include <cloudskin/record.h>
#include <stdio.h>
#include <time.h>

static unsigned long total;
static unsigned char *ballast;
static size_t ballast_size;

static void answer(int status, const char *text) {
    cs_answer(status, "text/plain", text, strlen(text));
}

/* An indirect call on the stack of every suspended cell: Asyncify must not lose it. */
static int (*volatile next)(struct cs_request *) = cs_next;

static void give_up(void) { __builtin_trap(); }
/* Through a pointer, or it would be inlined. */
static void (*volatile fail)(void) = give_up;

static size_t number(struct cs_text path, const char *name) {
    size_t value = 0, at = strlen(name);
    if (path.size < at || memcmp(path.data, name, at) != 0) return 0;
    while (at < path.size && path.data[at] >= '0' && path.data[at] <= '9') {
        value = value * 10 + (size_t)(path.data[at++] - '0');
    }
    return value;
}

int main(void) {
    struct cs_request request;
    char text[200];
    while (next(&request) > 0) {
        size_t n;
        if (cs_is(request.path, "/add")) {
            total += 1;
            snprintf(text, sizeof text, "%lu", total);
        } else if ((n = number(request.path, "/fill/"))) {
            ballast_size = n << 20;
            ballast = malloc(ballast_size);
            if (!ballast) { answer(507, "no memory"); continue; }
            for (size_t i = 0; i < ballast_size; i += 8) *(size_t *)(ballast + i) = i * 2654435761u;
            snprintf(text, sizeof text, "filled %zu", n);
        } else if ((n = number(request.path, "/touch/"))) {
            /* n of a thousand pages */
            for (size_t page = 0; page < ballast_size / 4096; page++) {
                if (page * 7919 % 1000 < n) ballast[page * 4096 + 17] += 1;
            }
            total += 1;
            snprintf(text, sizeof text, "touched %lu", total);
        } else if (cs_is(request.path, "/sum")) {
            unsigned long sum = 5381;
            for (size_t i = 0; i < ballast_size; i++) sum = sum * 33 + ballast[i];
            snprintf(text, sizeof text, "%lu %lx", total, sum);
        } else if (cs_is(request.path, "/clock")) {
            struct timespec wall, steady;
            unsigned int random = 0;
            clock_gettime(CLOCK_REALTIME, &wall);
            clock_gettime(CLOCK_MONOTONIC, &steady);
            getentropy(&random, sizeof random);
            total += random;
            snprintf(text, sizeof text, "%lld %lld %u", (long long)wall.tv_sec * 1000000000 + wall.tv_nsec,
                     (long long)steady.tv_sec * 1000000000 + steady.tv_nsec, random);
        } else if (cs_is(request.path, "/nap")) {
            struct timespec nap = {0, 20000000};
            nanosleep(&nap, 0);
            snprintf(text, sizeof text, "rested");
        } else if (cs_is(request.path, "/spin")) {
            for (volatile int i = 0;; i++) {}
        } else if (cs_is(request.path, "/trap")) {
            fail();
        } else if (cs_is(request.path, "/twice")) {
            answer(200, "one");
            snprintf(text, sizeof text, "two");
        } else if (cs_is(request.path, "/say")) {
            fprintf(stderr, "somebody asked\n");
            snprintf(text, sizeof text, "said");
        } else if (cs_is(request.path, "/flood")) {
            static char block[1 << 20];
            uint32_t size = 0xfffffff0u;
            write(1, &size, 4);
            while (write(1, block, sizeof block) > 0) {}
            continue;
        } else if (cs_is(request.path, "/exit")) {
            return 3;
        } else {
            answer(404, "what?");
            continue;
        }
        answer(200, text);
    }
    return 0;
}
