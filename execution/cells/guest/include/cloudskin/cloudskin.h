/* What a program may ask of the CloudSkin runtime.
 *
 * The same source builds natively: there every call here does nothing.
 */
#ifndef CLOUDSKIN_CLOUDSKIN_H
#define CLOUDSKIN_CLOUDSKIN_H

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __wasm__
/* A point at which the runtime may snapshot the cell or move it to another site.
 * Returns 0, possibly much later and elsewhere; the program cannot tell. Place it where
 * little is in progress: at the end of an iteration, not inside the innermost loop. */
__attribute__((import_module("cloudskin"), import_name("checkpoint")))
int cloudskin_checkpoint(void);
#else
static inline int cloudskin_checkpoint(void) { return 0; }
#endif

#ifdef __cplusplus
}
#endif

#endif
