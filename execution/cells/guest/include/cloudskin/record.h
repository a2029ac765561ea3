/* Record protocol, version 1: a service cell reads requests from standard input and writes
 * answers to standard output. The format is described in docs/protocol/record.md.
 *
 *     #include <cloudskin/record.h>
 *     int main(void) {
 *         struct cs_request request;
 *         int more;
 *         while ((more = cs_next(&request)) > 0) {
 *             if (cs_answer(200, "text/plain", request.body, request.body_size) < 0) return 1;
 *         }
 *         return more < 0;
 *     }
 *
 * Include it in one source file of a program: the request buffer is static to that file. It needs
 * no stdio, so that an idle cell stays small. A request lies in memory until the next cs_next. */
#ifndef CLOUDSKIN_RECORD_H
#define CLOUDSKIN_RECORD_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Largest request record in bytes, headers included: a body of 16 MiB and room for the rest.
 * A larger one is read past and answered with 413. Define it before the include to change it. */
#ifndef CS_REQUEST_MAX
#define CS_REQUEST_MAX ((size_t)(16u << 20) + (64u << 10))
#endif

#define CS_VERSION 1

/* Bytes that are not terminated by a zero. */
struct cs_text {
    const char *data;
    size_t size;
};

struct cs_request {
    struct cs_text method;
    struct cs_text path; /* with its query */
    const unsigned char *headers;
    size_t headers_size;
    unsigned header_count;
    const unsigned char *body;
    size_t body_size;
};

static unsigned char *cs_buffer_;
static size_t cs_buffer_size_;

/* Whether `text` is exactly `other`. */
static inline int cs_is(struct cs_text text, const char *other) {
    size_t size = strlen(other);
    return text.size == size && memcmp(text.data, other, size) == 0;
}

/* A part of the record at `*at`, which moves behind it; 0 when the record is too short. */
static inline const unsigned char *cs_take_(const unsigned char **at, const unsigned char *end,
                                            size_t size) {
    const unsigned char *part = *at;
    if ((size_t)(end - part) < size) return 0;
    *at = part + size;
    return part;
}

/* A text behind its own length of `width` (1 or 2) bytes; 0 when the record is too short. */
static inline int cs_take_text_(const unsigned char **at, const unsigned char *end, size_t width,
                                struct cs_text *text) {
    const unsigned char *length = cs_take_(at, end, width), *data;
    if (!length) return 0;
    text->size = width == 1 ? length[0] : (size_t)(length[0] | length[1] << 8);
    data = cs_take_(at, end, text->size);
    text->data = (const char *)data;
    return data != 0;
}

/* Fills `request` with views of the `size` bytes at `record`; 0 when they are not a request. */
static inline int cs_parse(const unsigned char *record, size_t size, struct cs_request *request) {
    const unsigned char *at = record, *end = record + size, *part;
    struct cs_text ignored;
    unsigned i;
    part = cs_take_(&at, end, 1);
    if (!part || part[0] != CS_VERSION) return 0;
    if (!cs_take_text_(&at, end, 1, &request->method)) return 0;
    if (!cs_take_text_(&at, end, 2, &request->path)) return 0;
    part = cs_take_(&at, end, 2);
    if (!part) return 0;
    request->header_count = (unsigned)(part[0] | part[1] << 8);
    request->headers = at;
    for (i = 0; i < 2 * request->header_count; i++) {
        if (!cs_take_text_(&at, end, 2, &ignored)) return 0;
    }
    request->headers_size = (size_t)(at - request->headers);
    request->body = at;
    request->body_size = (size_t)(end - at);
    return 1;
}

/* The value of the first header called `name` (lower case), or {0, 0} when there is none. */
static inline struct cs_text cs_header(const struct cs_request *request, const char *name) {
    const unsigned char *at = request->headers, *end = at + request->headers_size;
    struct cs_text key, value, none;
    unsigned i;
    none.data = 0;
    none.size = 0;
    for (i = 0; i < request->header_count; i++) {
        if (!cs_take_text_(&at, end, 2, &key) || !cs_take_text_(&at, end, 2, &value)) break;
        if (cs_is(key, name)) return value;
    }
    return none;
}

/* Writes one answer; 0, or -1 when standard output is gone or the answer cannot be expressed. */
static inline int cs_answer(int status, const char *type, const void *body, size_t size) {
    unsigned char head[9];
    struct iovec parts[3];
    size_t type_size = strlen(type), total = 5 + type_size + size;
    int first = 0;
    if (type_size > 0xffff || total < size || total > 0xffffffffu) return -1;
    head[0] = (unsigned char)total;
    head[1] = (unsigned char)(total >> 8);
    head[2] = (unsigned char)(total >> 16);
    head[3] = (unsigned char)(total >> 24);
    head[4] = CS_VERSION;
    head[5] = (unsigned char)status;
    head[6] = (unsigned char)(status >> 8);
    head[7] = (unsigned char)type_size;
    head[8] = (unsigned char)(type_size >> 8);
    parts[0].iov_base = head;
    parts[0].iov_len = sizeof head;
    parts[1].iov_base = (void *)(uintptr_t)type;
    parts[1].iov_len = type_size;
    parts[2].iov_base = (void *)(uintptr_t)body;
    parts[2].iov_len = size;
    for (;;) {
        ssize_t written;
        while (first < 3 && parts[first].iov_len == 0) first++;
        if (first == 3) return 0;
        written = writev(1, parts + first, 3 - first);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return -1;
        while (first < 3 && (size_t)written >= parts[first].iov_len) {
            written -= (ssize_t)parts[first].iov_len;
            parts[first++].iov_len = 0;
        }
        if (first < 3) {
            parts[first].iov_base = (char *)parts[first].iov_base + written;
            parts[first].iov_len -= (size_t)written;
        }
    }
}

/* Answers with a line of text. */
static inline int cs_answer_text(int status, const char *text) {
    return cs_answer(status, "text/plain; charset=utf-8", text, strlen(text));
}

/* Reads until `size` bytes are there or input ends; returns how many, or -1. */
static inline ssize_t cs_read_(unsigned char *to, size_t size) {
    size_t got = 0;
    while (got < size) {
        ssize_t more = read(0, to + got, size - got);
        if (more < 0 && errno == EINTR) continue;
        if (more < 0) return -1;
        if (more == 0) break;
        got += (size_t)more;
    }
    return (ssize_t)got;
}

/* Reads past `size` bytes of a record that is not wanted; 0, or -1 when input ends within. */
static inline int cs_skip_(size_t size) {
    unsigned char bin[1024];
    while (size > 0) {
        size_t part = size < sizeof bin ? size : sizeof bin;
        if (cs_read_(bin, part) != (ssize_t)part) return -1;
        size -= part;
    }
    return 0;
}

/* Makes the buffer at least `size` bytes, at most twice that; 0 when memory is out. */
static inline int cs_reserve_(size_t size) {
    size_t want = cs_buffer_size_ < 4096 ? 4096 : cs_buffer_size_;
    unsigned char *grown;
    if (size <= cs_buffer_size_) return 1;
    while (want < size) want *= 2;
    if (want > CS_REQUEST_MAX) want = CS_REQUEST_MAX < size ? size : CS_REQUEST_MAX;
    grown = (unsigned char *)realloc(cs_buffer_, want);
    if (!grown) return 0;
    cs_buffer_ = grown;
    cs_buffer_size_ = want;
    return 1;
}

/* Waits for the next request: 1 when `request` holds one, 0 when input ended between two
 * requests, -1 when it broke off within one. What is too large or is no request is answered here
 * (413, 400) and passed over. It never reads beyond one record, so a cell that waits here stands
 * between two requests and may be moved with all its state. */
static inline int cs_next(struct cs_request *request) {
    for (;;) {
        unsigned char length[4];
        size_t size;
        ssize_t got = cs_read_(length, sizeof length);
        if (got == 0) return 0;
        if (got != (ssize_t)sizeof length) return -1;
        size = (size_t)length[0] | (size_t)length[1] << 8 | (size_t)length[2] << 16 |
               (size_t)length[3] << 24;
        if (size > CS_REQUEST_MAX || !cs_reserve_(size)) {
            if (cs_skip_(size) < 0) return -1;
            if (cs_answer_text(413, "The request is larger than this cell takes.\n") < 0) return -1;
            continue;
        }
        if (cs_read_(cs_buffer_, size) != (ssize_t)size) return -1;
        if (cs_parse(cs_buffer_, size, request)) return 1;
        if (cs_answer_text(400, "The record is not a request of version 1.\n") < 0) return -1;
    }
}

#ifdef __cplusplus
}
#endif

#endif
