/* A service that echoes; and one with a ballast of memory, to be dirtied and moved. */
#include <cloudskin/record.h>

static unsigned char *ballast;
static size_t ballast_size;

static size_t number(struct cs_text path, const char *name) {
    size_t value = 0, at = strlen(name);
    if (path.size < at || memcmp(path.data, name, at) != 0) return 0;
    while (at < path.size && path.data[at] >= '0' && path.data[at] <= '9') {
        value = value * 10 + (size_t)(path.data[at++] - '0');
    }
    return value;
}

/* All of the ballast, nothing of it zero or alike. */
static int fill(size_t mebibytes) {
    free(ballast);
    ballast_size = mebibytes << 20;
    ballast = malloc(ballast_size);
    if (!ballast) return 0;
    for (size_t i = 0; i < ballast_size; i += 8) {
        *(unsigned long long *)(ballast + i) = (i + 1) * 0x9e3779b97f4a7c15ull;
    }
    return 1;
}

/* Every `nth` page. */
static void touch(size_t nth) {
    for (size_t at = 0; at < ballast_size; at += nth * 4096) ballast[at + 17] += 1;
}

int main(void) {
    struct cs_request request;
    size_t n;
    int more;
    while ((more = cs_next(&request)) > 0) {
        int status = 200;
        if ((n = number(request.path, "/fill/"))) {
            if (!fill(n)) status = 507;
        } else if ((n = number(request.path, "/touch/"))) {
            touch(n);
        }
        if (cs_answer(status, "text/plain", request.body, request.body_size) < 0) return 1;
    }
    return more < 0;
}
