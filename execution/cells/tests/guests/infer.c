/* A service with a model: each step of wasi-nn is a request of its own, so that it can be moved
 * between any two. The model takes two numbers and gives one. */
#include <cloudskin/nn.h>
#include <cloudskin/record.h>
#include <stdio.h>

static wasi_nn_graph graph;
static wasi_nn_context context;

static int set(float first) {
    const float row[2] = {first, 1};
    const uint32_t dimensions[2] = {1, 2};
    const struct wasi_nn_tensor tensor = {dimensions, 2, WASI_NN_F32, (const uint8_t *)row,
                                          sizeof row};
    return wasi_nn_set_input(context, 0, &tensor);
}

int main(void) {
    struct cs_request request;
    while (cs_next(&request) > 0) {
        char text[64];
        float answer = 0;
        uint32_t size = 0;
        int said;
        if (cs_is(request.path, "/name")) {
            said = wasi_nn_load_by_name("line", 4, &graph);
        } else if (cs_is(request.path, "/bring")) {
            const struct wasi_nn_builder builder = {request.body, (uint32_t)request.body_size};
            said = wasi_nn_load(&builder, 1, WASI_NN_ONNX, WASI_NN_CPU, &graph);
        } else if (cs_is(request.path, "/context")) {
            said = wasi_nn_init_execution_context(graph, &context);
        } else if (cs_is(request.path, "/set")) {
            said = set(10);
        } else if (cs_is(request.path, "/compute")) {
            said = wasi_nn_compute(context);
        } else {
            said = wasi_nn_get_output(context, 0, &answer, sizeof answer, &size);
        }
        snprintf(text, sizeof text, "%d %d", said, (int)answer);
        cs_answer_text(200, text);
    }
    return 0;
}
