/* Uses the library as a program would, and as one would that means no good. The argument names a place. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "geds.h"

#define CHECK(condition)                                                                            \
    do {                                                                                            \
        if (!(condition)) {                                                                         \
            fprintf(stderr, "%s:%d: %s; last error: %s\n", __FILE__, __LINE__, #condition, geds_error()); \
            exit(1);                                                                                \
        }                                                                                           \
    } while (0)

#define SAYS(text) CHECK(strstr(geds_error(), text) != NULL)

enum { LARGE = 3 << 20 };

static void objects(geds_store store) {
    char buffer[16];
    struct geds_stat stat;

    CHECK(putObject(store, "lab", "a", "hello", 5, 0) == GEDS_OK);
    CHECK(putObject(store, "lab", "a", "again", 5, 0) == GEDS_EXISTS);
    SAYS("exists already");
    CHECK(putObject(store, "lab", "a", "again!", 6, GEDS_OVERWRITE) == GEDS_OK);
    CHECK(readBytes(store, "lab", "a", 0, buffer, sizeof buffer) == 6);
    CHECK(memcmp(buffer, "again!", 6) == 0);
    CHECK(readBytes(store, "lab", "a", 4, buffer, 1) == 1 && buffer[0] == 'n');
    CHECK(readBytes(store, "lab", "a", 6, buffer, 1) == 0);
    CHECK(readBytes(store, "lab", "a", UINT64_MAX, buffer, 1) == 0);
    CHECK(putObject(store, "lab", "empty", NULL, 0, 0) == GEDS_OK);
    CHECK(readBytes(store, "lab", "empty", 0, NULL, 0) == 0);

    CHECK(geds_stat(store, "lab", "a", &stat) == GEDS_OK);
    CHECK(stat.size == 6 && stat.version > 0 && stat.tier == GEDS_MEMORY && stat.modified_ms > 0);
    CHECK(putObject(store, "lab", "kept", "1", 1, GEDS_DURABLE) == GEDS_OK);
    CHECK(geds_stat(store, "lab", "kept", &stat) == GEDS_OK && stat.size == 1);

    CHECK(geds_copy(store, "lab", "a", "lab", "b", 0) == GEDS_OK);
    CHECK(geds_copy(store, "lab", "a", "lab", "b", 0) == GEDS_EXISTS);
    CHECK(geds_rename(store, "lab", "b", "c", 0) == GEDS_OK);
    CHECK(readBytes(store, "lab", "b", 0, buffer, 1) == GEDS_NOT_FOUND);
    CHECK(geds_delete(store, "lab", "c") == 1);
    CHECK(geds_delete(store, "lab", "c") == 0);
    CHECK(geds_delete_bucket(store, "lab") == GEDS_CONFLICT);
    CHECK(geds_create_bucket(store, "lab") == GEDS_EXISTS);
    CHECK(geds_create_bucket(store, "Not A Bucket") == GEDS_INVALID);
    CHECK(geds_create_bucket(store, "other") == GEDS_OK);
    CHECK(geds_delete_bucket(store, "other") == GEDS_OK);
}

static void views(geds_store store) {
    char *large = malloc(LARGE);
    const void *bytes;
    size_t length;
    geds_view_handle view;

    CHECK(large != NULL);
    memset(large, 'x', LARGE);
    CHECK(putObject(store, "lab", "large", large, LARGE, 0) == GEDS_OK);
    CHECK(geds_view(store, "lab", "large", &view, &bytes, &length) == GEDS_OK);
    CHECK(geds_delete(store, "lab", "large") == 1);
    memset(large, 'y', LARGE);
    CHECK(putObject(store, "lab", "large", large, LARGE, 0) == GEDS_OK);
    memset(large, 'x', LARGE);
    CHECK(length == LARGE && memcmp(bytes, large, LARGE) == 0);
    CHECK(geds_view_release(view) == GEDS_OK);
    CHECK(geds_view_release(view) == GEDS_HANDLE);
    CHECK(geds_view(store, "lab", "empty", &view, &bytes, &length) == GEDS_OK && length == 0);
    CHECK(geds_view_release(view) == GEDS_OK);
    free(large);
}

static void files(geds_store store) {
    char buffer[32];
    geds_file file, second;

    CHECK(geds_file_open(store, "lab", "file", "r", 0, &file) == GEDS_NOT_FOUND);
    CHECK(geds_file_open(store, "lab", "file", "wb", 0, &file) == GEDS_OK);
    CHECK(geds_write(file, "0123456789", 10) == 10);
    CHECK(geds_read(file, buffer, 1) == GEDS_INVALID);
    CHECK(readBytes(store, "lab", "file", 0, buffer, 1) == GEDS_NOT_FOUND);
    CHECK(geds_file_close(file) == GEDS_OK);
    CHECK(geds_write(file, "1", 1) == GEDS_HANDLE);

    CHECK(geds_file_open(store, "lab", "file", "x", 0, &file) == GEDS_EXISTS);
    CHECK(geds_file_open(store, "lab", "file", "a", 0, &file) == GEDS_OK);
    CHECK(geds_seek(file, 0, SEEK_SET) == 0);
    CHECK(geds_write(file, "ab", 2) == 2);
    CHECK(geds_file_close(file) == GEDS_OK);

    CHECK(geds_file_open(store, "lab", "file", "rb+", 0, &file) == GEDS_OK);
    CHECK(geds_read(file, buffer, 2) == 2);
    CHECK(geds_write(file, "--", 2) == 2);
    CHECK(geds_seek(file, -1, SEEK_END) == 11);
    CHECK(geds_seek(file, 3, SEEK_CUR) == 14);
    CHECK(geds_write(file, "!", 1) == 1 && geds_size(file) == 15);
    CHECK(geds_truncate(file, 16) == GEDS_OK);
    CHECK(geds_file_close(file) == GEDS_OK);

    CHECK(geds_file_open(store, "lab", "file", "r", 0, &file) == GEDS_OK);
    CHECK(geds_size(file) == 16 && geds_read(file, buffer, sizeof buffer) == 16);
    CHECK(memcmp(buffer, "01--456789ab\0\0!\0", 16) == 0);
    CHECK(geds_read(file, buffer, sizeof buffer) == 0);
    CHECK(geds_write(file, "1", 1) == GEDS_INVALID && geds_truncate(file, 0) == GEDS_INVALID);
    CHECK(geds_seek(file, -1, SEEK_SET) == GEDS_INVALID && geds_seek(file, 0, 7) == GEDS_INVALID);
    CHECK(geds_seek(file, INT64_MAX, SEEK_SET) == INT64_MAX);
    CHECK(geds_seek(file, 1, SEEK_CUR) == GEDS_INVALID);
    CHECK(geds_read(file, buffer, 1) == 0);
    CHECK(geds_file_close(file) == GEDS_OK);

    CHECK(geds_file_open(store, "lab", "half", "w", 0, &file) == GEDS_OK);
    CHECK(geds_write(file, "half", 4) == 4);
    CHECK(geds_file_discard(file) == GEDS_OK);
    CHECK(geds_delete(store, "lab", "half") == 0);

    /* What others wrote meanwhile is not replaced. */
    CHECK(geds_file_open(store, "lab", "file", "a", 0, &file) == GEDS_OK);
    CHECK(geds_file_open(store, "lab", "file", "a", 0, &second) == GEDS_OK);
    CHECK(geds_write(file, "1", 1) == 1 && geds_write(second, "2", 1) == 1);
    CHECK(geds_file_close(second) == GEDS_OK && geds_file_close(file) == GEDS_CONFLICT);
    CHECK(geds_file_close(file) == GEDS_HANDLE);
}

static int count(const char *key, size_t length, const struct geds_stat *stat, void *context) {
    int *seen = context;
    CHECK(strlen(key) == length && strncmp(key, "many/", 5) == 0 && stat->size == 1);
    return ++*seen == 1500 ? -7 : 0;
}

static void lists(geds_store store) {
    char key[32];
    int seen = 0, number;

    for (number = 0; number < 2000; number++) {
        snprintf(key, sizeof key, "many/%05d", number);
        CHECK(putObject(store, "lab", key, "1", 1, 0) == GEDS_OK);
    }
    CHECK(geds_list(store, "lab", "many/", count, &seen) == 1 && seen == 1500);
    seen = 1500;
    CHECK(geds_list(store, "lab", "many/", count, &seen) == GEDS_OK && seen == 3500);
    CHECK(geds_list(store, "none", NULL, count, &seen) == GEDS_NOT_FOUND);
}

static void *fails(void *context) {
    geds_store store = *(geds_store *)context;
    char buffer[1];

    CHECK(strcmp(geds_error(), "") == 0);
    CHECK(readBytes(store, "lab", "of another thread", 0, buffer, 1) == GEDS_NOT_FOUND);
    SAYS("of another thread");
    return NULL;
}

static void *writes(void *context) {
    geds_file file = *(geds_file *)context;
    int number;

    for (number = 0; number < 1000; number++)
        CHECK(geds_write(file, "12345678", 8) == 8);
    return NULL;
}

static void threads(geds_store store) {
    pthread_t running[4];
    geds_file file;
    int thread;

    CHECK(geds_delete(store, "lab", "") == GEDS_INVALID);
    CHECK(pthread_create(&running[0], NULL, fails, &store) == 0);
    CHECK(pthread_join(running[0], NULL) == 0);
    SAYS("a key has 1 to 1024 bytes");

    CHECK(geds_file_open(store, "lab", "together", "w", 0, &file) == GEDS_OK);
    for (thread = 0; thread < 4; thread++)
        CHECK(pthread_create(&running[thread], NULL, writes, &file) == 0);
    for (thread = 0; thread < 4; thread++)
        CHECK(pthread_join(running[thread], NULL) == 0);
    CHECK(geds_size(file) == 32000);
    CHECK(geds_file_close(file) == GEDS_OK);
}

static void hostile(geds_store store) {
    static char endless[1 << 16];
    char buffer[8];
    uint64_t wrong[3], out;
    const void *bytes;
    size_t length;
    struct geds_stat stat;
    geds_file file;
    int index;

    memset(endless, 'k', sizeof endless);
    CHECK(geds_file_open(store, "lab", "wrong", "w", 0, &file) == GEDS_OK);
    wrong[0] = 0;
    wrong[1] = UINT64_MAX;
    wrong[2] = file; /* of another kind */
    for (index = 0; index < 3; index++) {
        CHECK(putObject(wrong[index], "lab", "a", "1", 1, 0) == GEDS_HANDLE);
        CHECK(readBytes(wrong[index], "lab", "a", 0, buffer, 1) == GEDS_HANDLE);
        CHECK(geds_view_release(wrong[index]) == GEDS_HANDLE);
        CHECK(geds_close(wrong[index]) == GEDS_HANDLE);
    }
    SAYS("no store is open under the handle");
    CHECK(geds_read(store, buffer, 1) == GEDS_HANDLE && geds_file_close(store) == GEDS_HANDLE);
    CHECK(geds_file_discard(file) == GEDS_OK && geds_file_discard(file) == GEDS_HANDLE);

    CHECK(geds_open("x", NULL) == GEDS_INVALID);
    SAYS("null pointer");
    CHECK(geds_open(endless, &out) == GEDS_INVALID);
    CHECK(geds_open("/dev/null", &out) == GEDS_INVALID);
    CHECK(geds_open("/nowhere/to/be/found.sock", &out) == GEDS_UNAVAILABLE);
    CHECK(putObject(store, NULL, "a", "1", 1, 0) == GEDS_INVALID);
    CHECK(putObject(store, "lab", NULL, "1", 1, 0) == GEDS_INVALID);
    CHECK(putObject(store, "lab", "a", NULL, 1, 0) == GEDS_INVALID);
    CHECK(putObject(store, "lab", "a", "1", SIZE_MAX, 0) == GEDS_INVALID);
    CHECK(putObject(store, "lab", "a", "1", 1, 0xffffffffu) == GEDS_INVALID);
    CHECK(putObject(store, "lab", "\xff\xfe", "1", 1, 0) == GEDS_INVALID);
    SAYS("not UTF-8");
    CHECK(putObject(store, "lab", endless, "1", 1, 0) == GEDS_INVALID);
    CHECK(putObject(store, endless, "a", "1", 1, 0) == GEDS_INVALID);
    CHECK(readBytes(store, "lab", "a", 0, NULL, 1) == GEDS_INVALID);
    CHECK(readBytes(store, "lab", "a", 0, buffer, SIZE_MAX) == GEDS_INVALID);
    CHECK(geds_view(store, "lab", "a", NULL, &bytes, &length) == GEDS_INVALID);
    CHECK(geds_view(store, "lab", "a", &out, NULL, &length) == GEDS_INVALID);
    CHECK(geds_view(store, "lab", "a", &out, &bytes, NULL) == GEDS_INVALID);
    CHECK(geds_stat(store, "lab", "a", NULL) == GEDS_INVALID);
    CHECK(geds_stat(store, "lab", "a", (struct geds_stat *)((char *)&stat + 1)) == GEDS_INVALID);
    CHECK(geds_copy(store, "lab", "a", NULL, NULL, 0) == GEDS_INVALID);
    CHECK(geds_rename(store, "lab", "a", NULL, 0) == GEDS_INVALID);
    CHECK(geds_delete(store, NULL, NULL) == GEDS_INVALID);
    CHECK(geds_list(store, "lab", NULL, NULL, NULL) == GEDS_INVALID);
    CHECK(geds_file_open(store, "lab", "a", NULL, 0, &file) == GEDS_INVALID);
    CHECK(geds_file_open(store, "lab", "a", "r", 0, NULL) == GEDS_INVALID);
    for (index = 0; index < 6; index++) {
        static const char *const modes[] = {"", "+", "rw", "rbb", "r++", "q"};
        CHECK(geds_file_open(store, "lab", "a", modes[index], 0, &file) == GEDS_INVALID);
    }
    CHECK(geds_write(file, NULL, 1) == GEDS_INVALID);
    CHECK(strcmp(geds_status_name(GEDS_EXHAUSTED), "exhausted") == 0);
    CHECK(strcmp(geds_status_name(17), "unknown") == 0);
}

int main(int arguments, char **argument) {
    geds_store store;
    geds_file file;
    char buffer[1];

    CHECK(arguments == 2);
    CHECK(geds_open(argument[1], &store) == GEDS_OK);
    CHECK(geds_create_bucket(store, "lab") == GEDS_OK);
    objects(store);
    views(store);
    files(store);
    lists(store);
    threads(store);
    hostile(store);

    /* A file outlives the handle of its store. */
    CHECK(geds_file_open(store, "lab", "last", "w", 0, &file) == GEDS_OK);
    CHECK(geds_close(store) == GEDS_OK);
    CHECK(geds_close(store) == GEDS_HANDLE);
    CHECK(readBytes(store, "lab", "a", 0, buffer, 1) == GEDS_HANDLE);
    CHECK(geds_write(file, "1", 1) == 1 && geds_file_close(file) == GEDS_OK);
    puts("all is well");
    return 0;
}
