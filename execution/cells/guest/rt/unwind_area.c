/* Where Asyncify writes the call stack when the cell is suspended, and reads it when it resumes.
 *
 * It is a static buffer so that the guest's allocator cannot own the same bytes: see
 * docs/adr/0003-unwind-area.md. The linker exports both symbols as constant globals that hold
 * their addresses; the size is the word in memory at the second.
 */
#ifndef CLOUDSKIN_UNWIND_AREA_BYTES
#define CLOUDSKIN_UNWIND_AREA_BYTES 65536
#endif

_Alignas(16) unsigned char cloudskin_unwind_area[CLOUDSKIN_UNWIND_AREA_BYTES];
const unsigned cloudskin_unwind_area_size = CLOUDSKIN_UNWIND_AREA_BYTES;
