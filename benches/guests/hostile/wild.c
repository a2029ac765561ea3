/* Calls the system with addresses out of bounds, for ever. */
#include <stdint.h>
#include <wasi/api.h>

int main(void) {
    for (uint32_t turn = 1;; turn++) {
        void *wild = (void *)(0xffffffffu - turn % 4096);
        size_t huge = 0x7fffffffu;
        __wasi_ciovec_t out = {wild, huge};
        __wasi_iovec_t in = {wild, huge};
        __wasi_size_t size;
        (void)__wasi_fd_write(1, &out, 1, &size);
        (void)__wasi_fd_write(1, wild, huge, &size);
        (void)__wasi_fd_write(1, &out, 1, wild);
        (void)__wasi_fd_read(0, &in, 1, &size);
        (void)__wasi_fd_read(0, wild, huge, wild);
        (void)__wasi_fd_prestat_dir_name(3, wild, huge);
        (void)__wasi_fd_readdir(3, wild, huge, 0, wild);
        (void)__wasi_random_get(wild, huge);
        (void)__wasi_args_sizes_get(wild, wild);
        (void)__wasi_environ_get(wild, wild);
        (void)__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 1, wild);
        (void)__wasi_poll_oneoff(wild, wild, huge, wild);
    }
}
