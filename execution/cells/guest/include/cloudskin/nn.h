/* wasi-nn for C: the functions of `wasi_ephemeral_nn`, over models that a program is given by
 * `--nn NAME=FILE` or `models` of a service, or brings itself.
 *
 *     wasi_nn_graph graph;
 *     wasi_nn_context context;
 *     uint32_t dimensions[4] = {1, 3, 352, 352}, size;
 *     struct wasi_nn_tensor input = {dimensions, 4, WASI_NN_F32, (const uint8_t *)pixels,
 *                                    sizeof pixels};
 *     if (wasi_nn_load_by_name("detector", 8, &graph) != WASI_NN_SUCCESS) return 1;
 *     if (wasi_nn_init_execution_context(graph, &context) != WASI_NN_SUCCESS) return 1;
 *     if (wasi_nn_set_input(context, 0, &input) != WASI_NN_SUCCESS) return 1;
 *     if (wasi_nn_compute(context) != WASI_NN_SUCCESS) return 1;
 *     if (wasi_nn_get_output(context, 0, boxes, sizeof boxes, &size) != WASI_NN_SUCCESS) return 1;
 *
 * Graphs and contexts move with a cell: load a model once, at the beginning. */
#ifndef CLOUDSKIN_NN_H
#define CLOUDSKIN_NN_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef uint32_t wasi_nn_graph;
typedef uint32_t wasi_nn_context;

/* What a call answers. */
enum wasi_nn_error {
    WASI_NN_SUCCESS = 0,
    WASI_NN_INVALID_ARGUMENT = 1,
    WASI_NN_INVALID_ENCODING = 2,
    WASI_NN_MISSING_MEMORY = 3,
    WASI_NN_BUSY = 4,
    WASI_NN_RUNTIME_ERROR = 5,
    WASI_NN_UNSUPPORTED_OPERATION = 6,
    WASI_NN_TOO_LARGE = 7,
    WASI_NN_NOT_FOUND = 8
};

/* Numbers of a tensor. */
enum wasi_nn_type {
    WASI_NN_F16 = 0,
    WASI_NN_F32 = 1,
    WASI_NN_F64 = 2,
    WASI_NN_U8 = 3,
    WASI_NN_I32 = 4,
    WASI_NN_I64 = 5
};

enum wasi_nn_encoding { WASI_NN_ONNX = 1, WASI_NN_AUTODETECT = 5 };
enum wasi_nn_target { WASI_NN_CPU = 0 };

struct wasi_nn_tensor {
    const uint32_t *dimensions;
    uint32_t rank;
    uint8_t type; /* enum wasi_nn_type */
    const uint8_t *data; /* row by row, little-endian */
    uint32_t size;       /* of the data, in bytes */
};

/* The bytes of a model's file. */
struct wasi_nn_builder {
    const uint8_t *data;
    uint32_t size;
};

#define WASI_NN_IMPORT_(name) \
    __attribute__((import_module("wasi_ephemeral_nn"), import_name(#name)))

/* Loads a model's bytes: one builder. */
WASI_NN_IMPORT_(load)
int wasi_nn_load(const struct wasi_nn_builder *builders, uint32_t count, uint32_t encoding,
                 uint32_t target, wasi_nn_graph *graph);

/* Loads the model that was given under this name. */
WASI_NN_IMPORT_(load_by_name)
int wasi_nn_load_by_name(const char *name, uint32_t size, wasi_nn_graph *graph);

/* Something to compute with the graph. */
WASI_NN_IMPORT_(init_execution_context)
int wasi_nn_init_execution_context(wasi_nn_graph graph, wasi_nn_context *context);

/* Sets an input, which must have the model's own dimensions and numbers. */
WASI_NN_IMPORT_(set_input)
int wasi_nn_set_input(wasi_nn_context context, uint32_t index, const struct wasi_nn_tensor *tensor);

/* Computes all outputs. */
WASI_NN_IMPORT_(compute)
int wasi_nn_compute(wasi_nn_context context);

/* Copies an output, of `size` bytes. */
WASI_NN_IMPORT_(get_output)
int wasi_nn_get_output(wasi_nn_context context, uint32_t index, void *buffer, uint32_t buffer_size,
                       uint32_t *size);

#ifdef __cplusplus
}
#endif

#endif
