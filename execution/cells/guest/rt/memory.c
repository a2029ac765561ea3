/* Copies and fills: short ones here, long ones by the engine, which does them as the host does.
   The C library's are loops over words. A program that has its own keeps them. */
#include <stddef.h>
#include <stdint.h>

/* From here on a call of the engine costs less than the loop. */
#define LONG 192

typedef uint8_t v16 __attribute__((vector_size(16), aligned(1)));
typedef uint64_t u64 __attribute__((aligned(1)));
typedef uint32_t u32 __attribute__((aligned(1)));
typedef uint16_t u16 __attribute__((aligned(1)));

/* Whatever overlaps: all is loaded before anything is stored. */
static inline void copy_up_to_16(char *to, const char *from, size_t n) {
    if (n >= 8) {
        uint64_t first = *(const u64 *)from, last = *(const u64 *)(from + n - 8);
        *(u64 *)to = first, *(u64 *)(to + n - 8) = last;
    } else if (n >= 4) {
        uint32_t first = *(const u32 *)from, last = *(const u32 *)(from + n - 4);
        *(u32 *)to = first, *(u32 *)(to + n - 4) = last;
    } else if (n >= 2) {
        uint16_t first = *(const u16 *)from, last = *(const u16 *)(from + n - 2);
        *(u16 *)to = first, *(u16 *)(to + n - 2) = last;
    } else if (n == 1) {
        *to = *from;
    }
}

/* Right also where `to` lies below `from` and both overlap. */
static inline void copy_upwards(char *to, const char *from, size_t n) {
    v16 last = *(const v16 *)(from + n - 16);
    char *end = to + n - 16;
    for (; to < end; to += 16, from += 16) *(v16 *)to = *(const v16 *)from;
    *(v16 *)end = last;
}

static inline void copy_downwards(char *to, const char *from, size_t n) {
    v16 first = *(const v16 *)from;
    for (size_t left = n; left > 16; left -= 16)
        *(v16 *)(to + left - 16) = *(const v16 *)(from + left - 16);
    *(v16 *)to = first;
}

void *memcpy(void *restrict to, const void *restrict from, size_t n) {
    if (n >= LONG) return __builtin_memcpy(to, from, n);
    if (n > 16) copy_upwards(to, from, n);
    else copy_up_to_16(to, from, n);
    return to;
}

void *memmove(void *to, const void *from, size_t n) {
    if (n >= LONG) return __builtin_memmove(to, from, n);
    if (n <= 16) copy_up_to_16(to, from, n);
    else if ((uintptr_t)to <= (uintptr_t)from) copy_upwards(to, from, n);
    else copy_downwards(to, from, n);
    return to;
}

void *memset(void *to, int value, size_t n) {
    if (n >= LONG) return __builtin_memset(to, value, n);
    char *at = to;
    uint64_t word = 0x0101010101010101u * (uint8_t)value;
    if (n > 16) {
        u64 *end = (u64 *)(at + n - 16);
        for (char *next = at; next < (char *)end; next += 16)
            ((u64 *)next)[0] = word, ((u64 *)next)[1] = word;
        end[0] = word, end[1] = word;
    } else if (n >= 8) {
        *(u64 *)at = word, *(u64 *)(at + n - 8) = word;
    } else if (n >= 4) {
        *(u32 *)at = word, *(u32 *)(at + n - 4) = word;
    } else if (n > 0) {
        at[0] = value, at[n - 1] = value, at[n / 2] = value;
    }
    return to;
}
