/* street-counter's decoder, which keeps all components here. */
#define JPEG_COLOUR
#include "colour.h"

#include "../street-counter/jpeg.c"
