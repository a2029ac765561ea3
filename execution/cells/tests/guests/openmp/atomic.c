/* atomic: every form on every type. */
#include "check.h"

#define ROUNDS 100

/* Each thread adds and takes away the same; what remains is exact in all of these types. */
#define UPDATES(name, type)                                                                        \
  static void name(int most) {                                                                     \
    type sum = 0, product = 1, seen = 0, old, bound = 5;                                           \
    _Pragma("omp parallel private(old) reduction(+ : seen)") {                                     \
      for (int i = 0; i < ROUNDS; i++) {                                                           \
        _Pragma("omp atomic") sum += 2;                                                            \
        _Pragma("omp atomic update") sum = sum - 1;                                                \
        _Pragma("omp atomic update") sum++;                                                        \
        _Pragma("omp atomic") --sum;                                                               \
        _Pragma("omp atomic seq_cst") sum = 1 + sum;                                               \
        _Pragma("omp atomic") sum -= 1;                                                            \
        _Pragma("omp atomic") product *= 1;                                                        \
        _Pragma("omp atomic") product /= 1;                                                        \
        _Pragma("omp atomic read") old = bound;                                                    \
        _Pragma("omp atomic write") bound = old;                                                   \
        seen += old == 5 ? 0 : 1;                                                                  \
        _Pragma("omp atomic capture") old = sum++;                                                 \
        _Pragma("omp atomic capture") {                                                            \
          sum -= 1;                                                                                \
          old = sum;                                                                               \
        }                                                                                          \
      }                                                                                            \
    }                                                                                              \
    CHECK(sum == (type)(most * ROUNDS));                                                           \
    CHECK(product == 1 && bound == 5 && seen == 0);                                                \
  }

UPDATES(chars, signed char)
UPDATES(unsigned_chars, unsigned char)
UPDATES(shorts, short)
UPDATES(unsigned_shorts, unsigned short)
UPDATES(ints, int)
UPDATES(unsigneds, unsigned)
UPDATES(longs, long)
UPDATES(long_longs, long long)
UPDATES(unsigned_long_longs, unsigned long long)
UPDATES(floats, float)
UPDATES(doubles, double)
UPDATES(long_doubles, long double)

#define BITS(name, type)                                                                           \
  static void name(int most) {                                                                     \
    type all = (type)-1, any = 0, odd = 0, moved = 1;                                              \
    _Pragma("omp parallel") {                                                                      \
      type mine = (type)1 << (omp_get_thread_num() % 7);                                           \
      _Pragma("omp atomic") all &= (type)~mine;                                                    \
      _Pragma("omp atomic") any |= mine;                                                           \
      for (int i = 0; i < 3; i++) {                                                                \
        _Pragma("omp atomic") odd ^= (type)3;                                                      \
      }                                                                                            \
      _Pragma("omp atomic") moved <<= 0;                                                           \
      _Pragma("omp atomic") moved >>= 0;                                                           \
    }                                                                                              \
    type expected = (type)((1 << (most > 7 ? 7 : most)) - 1);                                      \
    CHECK(any == expected && all == (type)~expected && moved == 1);                                \
    CHECK(odd == (type)(most % 2 ? 3 : 0));                                                        \
  }

BITS(char_bits, unsigned char)
BITS(short_bits, unsigned short)
BITS(int_bits, unsigned)
BITS(long_bits, unsigned long long)

/* Captured values of a counter are all different. */
static void captures(int most) {
  enum { MANY = 8 * ROUNDS };
  static char seen[MANY + 1], seen_after[MANY + 1];
  long long next = 0;
  int after = 0, swapped = 0;
  memset(seen, 0, sizeof seen);
  memset(seen_after, 0, sizeof seen_after);
#pragma omp parallel
  for (int i = 0; i < ROUNDS; i++) {
    long long ticket;
    int other, before;
#pragma omp atomic capture
    ticket = next++;
    seen[ticket]++;
#pragma omp atomic capture
    other = after += 1;
    seen_after[other]++;
#pragma omp atomic capture seq_cst
    {
      before = swapped;
      swapped = i;
    }
    CHECK(before >= 0 && before < ROUNDS);
  }
  for (int i = 0; i < most * ROUNDS; i++)
    CHECK(seen[i] == 1 && seen_after[i + 1] == 1);
}

/* Reads never see half a write. */
static void whole(void) {
  long long both = 0;
  double real = 0;
  _Complex double pair = 0;
#pragma omp parallel for schedule(dynamic, 5)
  for (int i = 0; i < 2000; i++) {
    long long bits;
    double number;
    if (i % 2) {
#pragma omp atomic write
      both = i % 4 == 1 ? 0 : -1;
#pragma omp atomic write
      real = i % 4 == 1 ? 0 : -1.5;
#pragma omp atomic
      pair += 1;
    } else {
#pragma omp atomic read
      bits = both;
#pragma omp atomic read
      number = real;
      CHECK(bits == 0 || bits == -1);
      CHECK(number == 0 || number == -1.5);
    }
  }
  CHECK(__real__ pair == 1000 && __imag__ pair == 0);
}

static void pointers(int most) {
  static int array[8 * ROUNDS + 1];
  int *at = array;
#pragma omp parallel
  for (int i = 0; i < ROUNDS; i++) {
    int *mine;
#pragma omp atomic capture
    mine = at++;
    *mine = 1;
  }
  for (int i = 0; i <= most * ROUNDS; i++)
    CHECK(array[i] == (i < most * ROUNDS));
}

struct Parts {
  int a;
  float b;
  short array[4];
  unsigned bits : 3;
};

static void places(int most) {
  struct Parts parts = {0, 0, {0}, 0}, *to = &parts;
#pragma omp parallel
  for (int i = 0; i < ROUNDS; i++) {
#pragma omp atomic
    to->a += i;
#pragma omp atomic
    parts.b += 0.5f;
#pragma omp atomic
    to->array[i % 4]++;
  }
  CHECK(parts.a == most * ROUNDS * (ROUNDS - 1) / 2 && parts.b == most * ROUNDS * 0.5f);
  for (int i = 0; i < 4; i++)
    CHECK(parts.array[i] == most * ROUNDS / 4);
}

/* 5.1: the greater of two, and compare and swap. */
static void compares(int most) {
#if defined(__clang__)
  int greatest = -1, least = 1000, slot = 0;
#pragma omp parallel
  {
    int me = omp_get_thread_num();
#pragma omp atomic compare
    if (greatest < me) { greatest = me; }
#pragma omp atomic compare
    if (least > me) { least = me; }
#pragma omp atomic compare
    if (slot == 0) { slot = 7; }
  }
  CHECK(greatest == most - 1 && least == 0 && slot == 7);
#endif
  (void)most;
}

int main(void) {
  int most = omp_get_max_threads();
  void (*const all[])(int) = {
      chars, unsigned_chars, shorts, unsigned_shorts, ints, unsigneds, longs, long_longs,
      unsigned_long_longs, floats, doubles, long_doubles, char_bits, short_bits, int_bits,
      long_bits, captures, pointers, places, compares};
  for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
    all[i](most);
  whole();
  return end("atomic");
}
