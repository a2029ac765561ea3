/* What a trigger's module may do, by the key that it is run for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int write_out(const char *folder, const char *name, const char *text) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *out = fopen(path, "w");
    if (!out) {
        perror(path);
        return 4;
    }
    fprintf(out, "%s %s %s", getenv("CLOUDSKIN_EVENT"), getenv("CLOUDSKIN_KEY"), text);
    return fclose(out) ? 5 : 0;
}

int main(int argc, char **argv) {
    const char *key = getenv("CLOUDSKIN_KEY"), *attempt = getenv("CLOUDSKIN_ATTEMPT");
    const char *slash = strrchr(key, '/'), *name = slash ? slash + 1 : key;
    const char *mode = argc > 1 ? argv[1] : "";
    if (!strcmp(mode, "echo")) {
        /* Below the prefix that it is run for. */
        char again[512];
        snprintf(again, sizeof again, "%s+", name);
        return write_out("/all/loop", again, "");
    }
    if (!strncmp(name, "bad", 3)) {
        for (int line = 0; line < 2000; line++) fprintf(stderr, "line %d of attempt %s\n", line, attempt);
        return 7;
    }
    if (!strncmp(name, "trap", 4)) __builtin_trap();
    if (!strncmp(name, "ever", 4)) for (volatile int i = 0;; i++) ;
    if (!strncmp(name, "large", 5)) {
        size_t size = 64 << 20;
        char *volatile memory = malloc(size);
        if (!memory) {
            fprintf(stderr, "no memory\n");
            return 9;
        }
        memset(memory, 1, size);
        fprintf(stderr, "%d\n", memory[size / 2]);
    }
    if (!strcmp(mode, "slow")) usleep(100000);
    char text[256] = "-";
    if (strcmp(getenv("CLOUDSKIN_EVENT"), "deleted")) {
        char path[512];
        snprintf(path, sizeof path, "/in/%s", name);
        FILE *in = fopen(path, "r");
        if (!in || !fgets(text, sizeof text, in)) {
            perror(path);
            return 6;
        }
    }
    return write_out("/out", name, text);
}
