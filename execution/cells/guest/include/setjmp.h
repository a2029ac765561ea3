/* WebAssembly gives a program no way to jump out of its callers. */
#error "setjmp and longjmp are not available in a cell: return an error code through the callers instead, or exit() at the place of the failure"
