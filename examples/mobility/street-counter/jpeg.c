/* A baseline JPEG decoder (ITU-T T.81) that keeps the luminance and passes over the rest. Built
 * with JPEG_COLOUR, as vehicle-detector does, it keeps all components, each at its own resolution.
 *
 * Frames come from anywhere: every read is checked against the end of the data, every index
 * against its table, and a picture that ends early is refused rather than filled up. */
#include "jpeg.h"

#include <stdlib.h>
#include <string.h>

#define LOOK_BITS 10
#define MAX_COMPONENTS 4

/* One Huffman table: codes of up to LOOK_BITS by lookup, longer ones by their length's range. */
struct huffman {
    int present;
    uint8_t symbols[256];
    uint16_t look[1 << LOOK_BITS]; /* length << 8 | symbol; 0 when the code is longer */
    int32_t last[18];              /* first code past those of a length, left-aligned to 16 bits */
    int32_t offset[17];            /* symbol index of a length's code = code + offset */
};

struct component {
    unsigned id, h, v, quantiser;
    unsigned dc_table, ac_table;
    int dc;
};

struct decoder {
    const uint8_t *at, *end;
    uint64_t bits; /* the next `bit_count` bits are the top ones */
    int bit_count;
    int overrun; /* bits made up after the end of the entropy-coded data */
    uint16_t quantisers[4][64]; /* zigzag order */
    unsigned quantisers_present;
    struct huffman dc[4], ac[4];
    struct component components[MAX_COMPONENTS];
    unsigned component_count, h_max, v_max;
    unsigned width, height, restart_interval;
    int all_done; /* what is kept */
#ifdef JPEG_COLOUR
    unsigned scanned; /* components, a bit for each */
#endif
};

static struct decoder decoder;

#ifdef JPEG_COLOUR
static struct {
    uint8_t *pixels;
    size_t size, stride;
} planes[MAX_COMPONENTS];
#define NUMBER(d, c) ((c) - (d)->components)
#define IS_KEPT(d, c) 1
#define PIXELS(d, c) planes[NUMBER(d, c)].pixels
#define STRIDE(d, c, luminance) planes[NUMBER(d, c)].stride
#else
static uint8_t *plane_pixels;
static size_t plane_size;
#define IS_KEPT(d, c) ((c) == &(d)->components[0])
#define PIXELS(d, c) plane_pixels
#define STRIDE(d, c, luminance) (luminance)
#endif

static const uint8_t zigzag[64] = {
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
    41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
    30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
};

static const char *const TRUNCATED = "the JPEG picture ends early";
static const char *const CORRUPT = "the JPEG picture's coded data is corrupt";

/* ---- inverse transform ---- */

/* cos(k pi / 16) / 2, scaled by 2^13; the DC factor 1 / (2 sqrt 2) equals that of k = 4. */
enum { C1 = 4017, C2 = 3784, C3 = 3406, C4 = 2896, C5 = 2276, C6 = 1567, C7 = 799 };

/* One-dimensional inverse transform of the eight columns of `in`, stored transposed. */
static void transform_columns(const int32_t in[64], int32_t out[64], int shift) {
    int32_t round = 1 << (shift - 1);
    int32_t rows[64];
    for (int i = 0; i < 8; i++) {
        int32_t a = C4 * (in[i] + in[32 + i]), b = C4 * (in[i] - in[32 + i]);
        int32_t c = C2 * in[16 + i] + C6 * in[48 + i], d = C6 * in[16 + i] - C2 * in[48 + i];
        int32_t x1 = in[8 + i], x3 = in[24 + i], x5 = in[40 + i], x7 = in[56 + i];
        int32_t e0 = a + c + round, e3 = a - c + round, e1 = b + d + round, e2 = b - d + round;
        int32_t o0 = C1 * x1 + C3 * x3 + C5 * x5 + C7 * x7;
        int32_t o1 = C3 * x1 - C7 * x3 - C1 * x5 - C5 * x7;
        int32_t o2 = C5 * x1 - C1 * x3 + C7 * x5 + C3 * x7;
        int32_t o3 = C7 * x1 - C5 * x3 + C3 * x5 - C1 * x7;
        rows[i] = (e0 + o0) >> shift;
        rows[8 + i] = (e1 + o1) >> shift;
        rows[16 + i] = (e2 + o2) >> shift;
        rows[24 + i] = (e3 + o3) >> shift;
        rows[32 + i] = (e3 - o3) >> shift;
        rows[40 + i] = (e2 - o2) >> shift;
        rows[48 + i] = (e1 - o1) >> shift;
        rows[56 + i] = (e0 - o0) >> shift;
    }
    for (int y = 0; y < 8; y++)
        for (int x = 0; x < 8; x++) out[x * 8 + y] = rows[y * 8 + x];
}

static uint8_t clamp8(int32_t value) {
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static void store_block(const int32_t block[64], int only_dc, uint8_t *to, size_t stride) {
    int32_t half[64], whole[64];
    if (only_dc) {
        uint8_t level = clamp8(((block[0] + 4) >> 3) + 128);
        for (int y = 0; y < 8; y++) memset(to + y * stride, level, 8);
        return;
    }
    transform_columns(block, half, 10); /* keeps three fractional bits */
    transform_columns(half, whole, 16);
    for (int y = 0; y < 8; y++)
        for (int x = 0; x < 8; x++) to[y * stride + x] = clamp8(whole[y * 8 + x] + 128);
}

/* ---- entropy decoding ---- */

static void refill(struct decoder *d) {
    while (d->bit_count <= 56) {
        uint64_t byte = 0;
        if (d->at < d->end && (d->at[0] != 0xff || (d->end - d->at > 1 && d->at[1] == 0))) {
            byte = d->at[0];
            d->at += byte == 0xff ? 2 : 1;
        } else {
            d->overrun += 8; /* a marker or the end: zeros from here on */
        }
        d->bits |= byte << (56 - d->bit_count);
        d->bit_count += 8;
    }
}

static void drop_bits(struct decoder *d, int count) {
    d->bits <<= count;
    d->bit_count -= count;
}

/* Whether more bits were used than the data had. */
static int ran_out(const struct decoder *d) { return d->overrun > d->bit_count; }

/* The next symbol, or -1 for a code that is not in the table. At least 16 bits must be there. */
static int next_symbol(struct decoder *d, const struct huffman *table) {
    unsigned entry = table->look[d->bits >> (64 - LOOK_BITS)];
    int32_t code = (int32_t)(d->bits >> 48);
    if (entry) {
        drop_bits(d, (int)(entry >> 8));
        return (int)(entry & 0xff);
    }
    for (int length = LOOK_BITS + 1; length <= 16; length++) {
        if (code >= table->last[length]) continue;
        drop_bits(d, length);
        return table->symbols[((code >> (16 - length)) + table->offset[length]) & 0xff];
    }
    return -1;
}

/* The next `size` (0 to 15) bits as a signed value (T.81 F.2.2.1). */
static int next_value(struct decoder *d, int size) {
    if (size == 0) return 0;
    int value = (int)(d->bits >> (64 - size));
    drop_bits(d, size);
    return value >= 1 << (size - 1) ? value : value - (1 << size) + 1;
}

/* Reads one block's coefficients, dequantised, into `block`, or past them when it is null.
 * Returns the index of the last one that is there, or -1. */
static int next_block(struct decoder *d, struct component *c, int32_t *block) {
    const uint16_t *quantiser = d->quantisers[c->quantiser];
    const struct huffman *ac = &d->ac[c->ac_table];
    int last = 0, k = 1;
    refill(d);
    int size = next_symbol(d, &d->dc[c->dc_table]);
    if (size < 0 || size > 11) return -1;
    c->dc += next_value(d, size);
    if (c->dc < -32768 || c->dc > 32767) return -1;
    if (block) block[0] = c->dc * quantiser[0];
    while (k < 64) {
        if (d->bit_count < 32) refill(d);
        int symbol = next_symbol(d, ac);
        if (symbol < 0) return -1;
        size = symbol & 15;
        k += symbol >> 4;
        if (size == 0) {
            if (symbol != 0xf0) break;
            k++;
            continue;
        }
        if (k > 63 || size > 10) return -1;
        int value = next_value(d, size);
        if (block) block[zigzag[k]] = value * quantiser[k];
        last = k++;
    }
    return last;
}

/* Coefficients beyond what eight bits of sample can give; keeps the transform within 32 bits. */
static void limit_coefficients(int32_t block[64]) {
    for (int i = 0; i < 64; i++) {
        int32_t value = block[i];
        block[i] = value < -2048 ? -2048 : value > 2047 ? 2047 : value;
    }
}

/* Begins a run of coded data at a byte boundary. */
static void start_run(struct decoder *d) {
    d->bits = 0;
    d->bit_count = d->overrun = 0;
    for (unsigned i = 0; i < d->component_count; i++) d->components[i].dc = 0;
}

/* Passes the restart marker that must stand here. */
static const char *pass_restart(struct decoder *d, unsigned number) {
    if (d->end - d->at < 2) return TRUNCATED;
    if (d->at[0] != 0xff || d->at[1] != 0xd0 + (number & 7)) return CORRUPT;
    d->at += 2;
    start_run(d);
    return 0;
}

static unsigned divide_up(unsigned a, unsigned b) { return (a + b - 1) / b; }

static const char *decode_block(struct decoder *d, struct component *c, unsigned bx, unsigned by,
                                size_t stride) {
    int32_t block[64];
    int kept = IS_KEPT(d, c);
    if (kept) memset(block, 0, sizeof block);
    int last = next_block(d, c, kept ? block : 0);
    if (ran_out(d)) return TRUNCATED;
    if (last < 0) return CORRUPT;
    if (!kept) return 0;
    limit_coefficients(block);
    stride = STRIDE(d, c, stride);
    store_block(block, last == 0, PIXELS(d, c) + by * 8 * stride + bx * 8, stride);
    return 0;
}

/* All blocks of component `c` within the minimum coded unit `x`, `y` of an interleaved scan. */
static const char *decode_unit(struct decoder *d, struct component *c, unsigned x, unsigned y,
                               size_t stride) {
    for (unsigned v = 0; v < c->v; v++) {
        for (unsigned h = 0; h < c->h; h++) {
            const char *error = decode_block(d, c, x * c->h + h, y * c->v + v, stride);
            if (error) return error;
        }
    }
    return 0;
}

/* Decodes the scan of `count` components that starts here. */
static const char *decode_scan(struct decoder *d, struct component **scan, unsigned count) {
    struct component *luminance = &d->components[0];
    size_t stride = (size_t)divide_up(d->width, 8 * d->h_max) * luminance->h * 8;
    unsigned columns = divide_up(d->width, 8 * d->h_max), rows = divide_up(d->height, 8 * d->v_max);
    if (count == 1) { /* not interleaved: only the blocks that the component needs */
        columns = divide_up(divide_up(d->width * scan[0]->h, d->h_max), 8);
        rows = divide_up(divide_up(d->height * scan[0]->v, d->v_max), 8);
    }
    unsigned total = columns * rows;
    start_run(d);
    for (unsigned unit = 0; unit < total; unit++) {
        unsigned x = unit % columns, y = unit / columns;
        const char *error = 0;
        if (d->restart_interval && unit && unit % d->restart_interval == 0)
            error = pass_restart(d, unit / d->restart_interval - 1);
        for (unsigned i = 0; i < count && !error; i++)
            error = count == 1 ? decode_block(d, scan[i], x, y, stride)
                               : decode_unit(d, scan[i], x, y, stride);
        if (error) return error;
    }
    return 0;
}

/* ---- marker segments ---- */

/* The segment that starts here: its payload's end, or null; `at` moves behind the length. */
static const uint8_t *segment_end(struct decoder *d) {
    if (d->end - d->at < 2) return 0;
    size_t size = (size_t)(d->at[0] << 8 | d->at[1]);
    if (size < 2 || (size_t)(d->end - d->at) < size) return 0;
    const uint8_t *end = d->at + size;
    d->at += 2;
    return end;
}

static const char *read_quantisers(struct decoder *d, const uint8_t *end) {
    while (d->at < end) {
        unsigned wide = *d->at >> 4, slot = *d->at & 15;
        d->at++;
        if (slot > 3 || wide > 1 || end - d->at < (wide ? 128 : 64))
            return "the JPEG picture has a malformed quantisation table";
        for (int i = 0; i < 64; i++) {
            d->quantisers[slot][i] = wide ? (uint16_t)(d->at[0] << 8 | d->at[1]) : d->at[0];
            d->at += wide ? 2 : 1;
        }
        d->quantisers_present |= 1u << slot;
    }
    return 0;
}

/* Builds the table from its count of codes per length; 0 when the lengths are not a code. */
static int build_huffman(struct huffman *table, const uint8_t counts[16]) {
    int32_t code = 0, index = 0;
    memset(table->look, 0, sizeof table->look);
    for (int length = 1; length <= 16; length++) {
        int32_t count = counts[length - 1];
        if (code + count > 1 << length) return 0;
        table->offset[length] = index - code;
        for (int32_t i = 0; i < count && length <= LOOK_BITS; i++) {
            int spare = LOOK_BITS - length;
            uint16_t entry = (uint16_t)(length << 8 | table->symbols[index + i]);
            for (int32_t fill = 0; fill < 1 << spare; fill++)
                table->look[((code + i) << spare) + fill] = entry;
        }
        code += count;
        index += count;
        table->last[length] = code << (16 - length);
        code <<= 1;
    }
    table->present = 1;
    return 1;
}

static const char *read_huffman(struct decoder *d, const uint8_t *end) {
    static const char *const bad = "the JPEG picture has a malformed Huffman table";
    while (d->at < end) {
        if (end - d->at < 17) return bad;
        unsigned class = *d->at >> 4, slot = *d->at & 15;
        const uint8_t *counts = d->at + 1;
        int total = 0;
        for (int i = 0; i < 16; i++) total += counts[i];
        if (class > 1 || slot > 3 || total > 256 || end - d->at < 17 + total) return bad;
        struct huffman *table = class ? &d->ac[slot] : &d->dc[slot];
        memset(table->symbols, 0, sizeof table->symbols);
        memcpy(table->symbols, counts + 16, (size_t)total);
        d->at += 17 + total;
        if (!build_huffman(table, counts)) return bad;
    }
    return 0;
}

static const char *read_components(struct decoder *d, const uint8_t *end) {
    unsigned count = d->at[5], blocks = 0;
    d->at += 6;
    if ((count != 1 && count != 3) || end - d->at < 3 * (int)count)
        return "the JPEG picture is neither grey nor YCbCr";
    d->h_max = d->v_max = 1;
    for (unsigned i = 0; i < count; i++, d->at += 3) {
        struct component *c = &d->components[i];
        c->id = d->at[0];
        c->h = d->at[1] >> 4;
        c->v = d->at[1] & 15;
        c->quantiser = d->at[2];
        if (count == 1) c->h = c->v = 1; /* one component is never interleaved */
        if (c->h < 1 || c->h > 4 || c->v < 1 || c->v > 4 || c->quantiser > 3)
            return "the JPEG picture has a malformed frame header";
        blocks += c->h * c->v;
        if (c->h > d->h_max) d->h_max = c->h;
        if (c->v > d->v_max) d->v_max = c->v;
    }
    d->component_count = count;
    if (blocks > 10 || d->components[0].h != d->h_max || d->components[0].v != d->v_max)
        return "the JPEG picture's luminance is not at full resolution";
    return 0;
}

#ifdef JPEG_COLOUR
/* Room for every block of every component. */
static const char *make_room(struct decoder *d) {
    for (unsigned i = 0; i < d->component_count; i++) {
        const struct component *c = &d->components[i];
        size_t stride = (size_t)divide_up(d->width, 8 * d->h_max) * 8 * c->h;
        size_t size = stride * divide_up(d->height, 8 * d->v_max) * 8 * c->v;
        planes[i].stride = stride;
        if (size <= planes[i].size) continue;
        uint8_t *grown = realloc(planes[i].pixels, size);
        if (!grown) return "there is no memory for the JPEG picture";
        planes[i].pixels = grown;
        planes[i].size = size;
    }
    return 0;
}
#endif

/* The frame header: what is not 8-bit YCbCr or grey is refused. Makes room for the luminance. */
static const char *read_frame(struct decoder *d, const uint8_t *end) {
    if (d->component_count) return "the JPEG picture has two frame headers";
    if (end - d->at < 6) return TRUNCATED;
    if (d->at[0] != 8) return "the JPEG picture does not have 8 bits per sample";
    d->height = (unsigned)(d->at[1] << 8 | d->at[2]);
    d->width = (unsigned)(d->at[3] << 8 | d->at[4]);
    if (d->width < FRAME_MIN_SIDE || d->height < FRAME_MIN_SIDE || d->width > FRAME_MAX_SIDE ||
        d->height > FRAME_MAX_SIDE || d->width * d->height > FRAME_MAX_PIXELS)
        return "the JPEG picture is too small or too large: 32x32 to 4096x4096, 4 megapixels";
    const char *error = read_components(d, end);
    if (error) return error;
#ifdef JPEG_COLOUR
    return make_room(d);
#else
    size_t stride = (size_t)divide_up(d->width, 8 * d->h_max) * 8 * d->h_max;
    size_t size = stride * divide_up(d->height, 8 * d->v_max) * 8 * d->v_max;
    if (size > plane_size) {
        uint8_t *grown = realloc(plane_pixels, size);
        if (!grown) return "there is no memory for the JPEG picture";
        plane_pixels = grown;
        plane_size = size;
    }
    return 0;
#endif
}

static struct component *component_by_id(struct decoder *d, unsigned id) {
    for (unsigned i = 0; i < d->component_count; i++)
        if (d->components[i].id == id) return &d->components[i];
    return 0;
}

/* The scan header and, when it holds the luminance, the scan. */
static const char *read_scan(struct decoder *d, const uint8_t *end) {
    static const char *const bad = "the JPEG picture has a malformed scan header";
    struct component *scan[MAX_COMPONENTS];
    int kept = 0;
    if (!d->component_count || end - d->at < 1) return bad;
    unsigned count = *d->at++;
    if (count < 1 || count > d->component_count || end - d->at != 2 * (int)count + 3) return bad;
    for (unsigned i = 0; i < count; i++, d->at += 2) {
        struct component *c = component_by_id(d, d->at[0]);
        if (!c) return bad;
        for (unsigned j = 0; j < i; j++)
            if (scan[j] == c) return bad;
        c->dc_table = d->at[1] >> 4;
        c->ac_table = d->at[1] & 15;
        if (c->dc_table > 3 || c->ac_table > 3 || !d->dc[c->dc_table].present ||
            !d->ac[c->ac_table].present || !(d->quantisers_present >> c->quantiser & 1))
            return "the JPEG picture lacks a table that it uses";
        scan[i] = c;
        kept |= IS_KEPT(d, c);
    }
    d->at = end;
    if (!kept) return 0; /* its coded data holds no marker but restarts: passed over */
#ifdef JPEG_COLOUR
    for (unsigned i = 0; i < count; i++) d->scanned |= 1u << NUMBER(d, scan[i]);
    d->all_done = d->scanned == (1u << d->component_count) - 1;
#else
    d->all_done = 1;
#endif
    return decode_scan(d, scan, count);
}

/* Moves to the next marker and returns it, or -1. Coded data that is not wanted is passed. */
static int next_marker(struct decoder *d) {
    while (d->end - d->at >= 2) {
        int marker = d->at[1];
        int restart = marker >= 0xd0 && marker <= 0xd7;
        if (d->at[0] != 0xff || marker == 0 || marker == 0xff || restart) {
            d->at++;
            continue;
        }
        d->at += 2;
        return marker;
    }
    return -1;
}

static const char *read_segment(struct decoder *d, int marker) {
    const uint8_t *end = segment_end(d);
    const char *error = 0;
    if (!end) return TRUNCATED;
    if (marker == 0xdb) error = read_quantisers(d, end);
    else if (marker == 0xc4) error = read_huffman(d, end);
    else if (marker == 0xc0 || marker == 0xc1) error = read_frame(d, end);
    else if (marker == 0xda) return read_scan(d, end);
    else if (marker == 0xc2) error = "progressive JPEG is not taken: send baseline JPEG";
    else if (marker >= 0xc3 && marker <= 0xcf && marker != 0xc8 && marker != 0xcc)
        error = "only Huffman-coded baseline JPEG is taken";
    else if (marker == 0xdd) {
        if (end - d->at != 2) return "the JPEG picture has a malformed restart interval";
        d->restart_interval = (unsigned)(d->at[0] << 8 | d->at[1]);
    }
    d->at = end;
    return error;
}

/* Reads all that is kept of a picture. */
static const char *read_picture(struct decoder *d, const uint8_t *data, size_t size) {
    if (size < 4 || data[0] != 0xff || data[1] != 0xd8) return "the body is not a JPEG picture";
    memset(d, 0, sizeof *d);
    d->at = data + 2;
    d->end = data + size;
    while (!d->all_done) {
        int marker = next_marker(d);
        if (marker < 0 || marker == 0xd9) return TRUNCATED;
        if (marker == 0xd8 || marker == 0x01) continue;
        const char *error = read_segment(d, marker);
        if (error) return error;
    }
    return 0;
}

#ifdef JPEG_COLOUR
const char *jpeg_colour(const uint8_t *data, size_t size, struct picture *picture) {
    struct decoder *d = &decoder;
    const char *error = read_picture(d, data, size);
    if (error) return error;
    picture->width = d->width;
    picture->height = d->height;
    picture->plane_count = d->component_count;
    for (unsigned i = 0; i < d->component_count; i++) {
        const struct component *c = &d->components[i];
        picture->planes[i].pixels = planes[i].pixels;
        picture->planes[i].width = divide_up(d->width * c->h, d->h_max);
        picture->planes[i].height = divide_up(d->height * c->v, d->v_max);
        picture->planes[i].stride = (unsigned)planes[i].stride;
    }
    return 0;
}
#else
const char *jpeg_luminance(const uint8_t *data, size_t size, struct plane *plane) {
    struct decoder *d = &decoder;
    const char *error = read_picture(d, data, size);
    if (error) return error;
    plane->pixels = plane_pixels;
    plane->width = d->width;
    plane->height = d->height;
    plane->stride = divide_up(d->width, 8 * d->h_max) * 8 * d->h_max;
    return 0;
}
#endif
