/* C++ exceptions without unwinding: a throw ends the cell.
 *
 * Programs are compiled with `-fexceptions -fignore-exceptions`: try and catch compile, no code is
 * made for catching. A throw arrives here, says on standard error what was thrown, and traps, so
 * that the runtime's backtrace names the function that threw.
 */
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <cxxabi.h>
#include <exception>
#include <typeinfo>
#include <unistd.h>

/* The Itanium C++ ABI (2.9.5) fixes the names and layouts of these. The destructors are defined in
 * libc++abi; declaring them here makes the compiler use the type information that is there. */
namespace __cxxabiv1 {
class __shim_type_info : public std::type_info {
public:
  ~__shim_type_info() override;
};
class __class_type_info : public __shim_type_info {
public:
  ~__class_type_info() override;
};
class __si_class_type_info : public __class_type_info {
public:
  ~__si_class_type_info() override;
  const __class_type_info *__base_type;
};
struct __base_class_type_info {
  const __class_type_info *__base_type;
  long __offset_flags;
};
class __vmi_class_type_info : public __class_type_info {
public:
  ~__vmi_class_type_info() override;
  unsigned int __flags;
  unsigned int __base_count;
  __base_class_type_info __base_info[1];
};
} // namespace __cxxabiv1

namespace {

const long VIRTUAL_BASE = 0x1, PUBLIC_BASE = 0x2;
const int OFFSET_SHIFT = 8;
const int DEPTH_MAX = 64;

void say(const char *text) {
  size_t left = strlen(text);
  while (left > 0) {
    ssize_t written = write(STDERR_FILENO, text, left);
    if (written <= 0)
      return;
    text += written;
    left -= static_cast<size_t>(written);
  }
}

/* The std::exception inside an object of this type, or null when there is none that can be reached
 * through public, non-virtual inheritance. */
const std::exception *as_exception(const std::type_info *type, const char *object, int depth) {
  if (*type == typeid(std::exception))
    return reinterpret_cast<const std::exception *>(object);
  if (depth == DEPTH_MAX)
    return nullptr;
  if (auto *single = dynamic_cast<const __cxxabiv1::__si_class_type_info *>(type))
    return as_exception(single->__base_type, object, depth + 1);
  auto *several = dynamic_cast<const __cxxabiv1::__vmi_class_type_info *>(type);
  for (unsigned i = 0; several && i < several->__base_count; i++) {
    const auto &base = several->__base_info[i];
    if (!(base.__offset_flags & PUBLIC_BASE) || (base.__offset_flags & VIRTUAL_BASE))
      continue;
    const char *inner = object + (base.__offset_flags >> OFFSET_SHIFT);
    if (auto *found = as_exception(base.__base_type, inner, depth + 1))
      return found;
  }
  return nullptr;
}

void say_type(const std::type_info *type) {
  int status = 0;
  char *name = abi::__cxa_demangle(type->name(), nullptr, nullptr, &status);
  say(status == 0 && name ? name : type->name());
  free(name);
}

} // namespace

extern "C" {

void *__cxa_allocate_exception(size_t bytes) noexcept {
  void *object = malloc(bytes ? bytes : 1);
  if (object == nullptr) {
    say("cloudskin: out of memory while throwing a C++ exception\n");
    __builtin_trap();
  }
  return object;
}

void __cxa_free_exception(void *object) noexcept { free(object); }

/* On wasm32 a destructor returns the object it destroyed. */
void __cxa_throw(void *object, std::type_info *type, void *(*)(void *)) {
  say("cloudskin: C++ exception `");
  say_type(type);
  say("` was thrown");
  if (auto *error = as_exception(type, static_cast<const char *>(object), 0)) {
    say(": ");
    say(error->what());
  }
  say("\ncloudskin: a throw ends the cell, catch blocks do not run; the backtrace names the place\n");
  __builtin_trap();
}

void __cxa_rethrow() {
  say("cloudskin: `throw;` outside a catch block ends the cell; the backtrace names the place\n");
  __builtin_trap();
}

/* No catch block ever runs; these exist for objects that were compiled with catching. */
void *__cxa_begin_catch(void *object) noexcept { return object; }
void *__cxa_get_exception_ptr(void *object) noexcept { return object; }
void __cxa_end_catch() {}

/* The linker sends every call of std::terminate here (`--wrap`). libc++abi's own handler, abort,
 * says nothing; a handler that the program installed is called. */
[[noreturn]] void __wrap__ZSt9terminatev() {
  std::terminate_handler handler = std::get_terminate();
  if (handler != nullptr && handler != static_cast<std::terminate_handler>(abort))
    handler();
  say("cloudskin: std::terminate was called; the backtrace names the place\n");
  __builtin_trap();
}

} // extern "C"
