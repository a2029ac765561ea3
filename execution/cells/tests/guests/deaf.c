/* A service that never reads a request: it sleeps, wakes and sleeps again. */
#include <time.h>

int main(void) {
    struct timespec nap = {0, 20000000};
    for (;;) nanosleep(&nap, 0);
}
