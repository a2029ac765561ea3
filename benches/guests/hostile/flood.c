/* Writes to its output for ever, whatever becomes of it. */
#include <string.h>
#include <unistd.h>

static char text[65536];

int main(void) {
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\n';
    for (;;) {
        (void)!write(1, text, sizeof text);
        (void)!write(2, text, 1);
    }
}
