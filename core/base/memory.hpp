// How the program's allocator treats freed memory.
#pragma once

#include <malloc.h>

namespace sdpipe {

// Keeps freed memory for the next tensor. glibc gives what is free at the end of its heap back to the kernel, which
// hands it out again page by page, cleared: with a network's activations, in every evaluation, up to a fifth of its
// time. For the first line of main; where another allocator than glibc's serves, nothing happens.
inline void keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the most that it takes
  mallopt(M_TRIM_THRESHOLD, -1);        // never
#endif
}

// Gives the kernel what is free for all that, where so much was freed that it is not soon used again.
inline void return_freed_memory() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

}  // namespace sdpipe
