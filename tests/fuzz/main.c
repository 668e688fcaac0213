/* Coverage-guided fuzzing of the compiled modules under AddressSanitizer and UndefinedBehaviorSanitizer.
 *
 *     make fuzz-native                    builds and runs all parts, FUZZ_SECONDS each
 *
 * One program: libFuzzer, the instrumented C that Cython makes of the modules in build.py, and an embedded Python that
 * knows these modules as built-in ones, so the modules built in place are neither used nor changed. Its targets:
 *
 *     fuzz_scanner.pyx   calls the scanner on the input; checks what it says; compares some with the reference decoder
 *     fuzz_syslog.pyx    makes an entry of the input as a syslog message; checks it as much
 *     fuzz_gelf.pyx      makes entries of the GELF objects in the input; checks them as much
 *     fuzz_unpack.pyx    unpacks the input, and what it makes of the input; compares it with the reference
 *     fuzz_chunks.pyx    takes the chunks that the input names; checks the table of messages; compares some as much
 *     receive.py         sends the input as datagrams to an Intake over loopback; compares all with the reference
 *
 * build.py builds the program, run.py makes the first inputs and the dictionary from the tests' own and runs it. A
 * finding ends the run and is a file in corpus/, which tests/shipped/test_fuzz_corpus.py replays with the ordinary build.
 * FASTLOG_FUZZ names the target: build/fuzz/fuzz-fastlog takes that, libFuzzer's options, and files or folders.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <sanitizer/asan_interface.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* build.py writes both lists. */
#define MODULE(full_name, name) PyMODINIT_FUNC PyInit_##name(void);
#include "modules.inc"
#undef MODULE
#define TARGET(name) PyMODINIT_FUNC PyInit_fuzz_##name(void); int fuzz_##name(const uint8_t *data, size_t size);
#include "targets.inc"
#undef TARGET

static const struct {
  const char *name, *module;
  int (*check)(const uint8_t *data, size_t size);
} TARGETS[] = {
#define TARGET(name) {#name, "fuzz_" #name, fuzz_##name},
#include "targets.inc"
#undef TARGET
};

/* Some versions of Python look for built-in modules outside packages only. */
static const char FIND_BUILT_IN[] =
    "import sys\n"
    "from importlib.machinery import BuiltinImporter\n"
    "class Finder:\n"
    "    def find_spec(name, path=None, target=None):\n"
    "        return BuiltinImporter.find_spec(name)\n"
    "sys.meta_path.insert(0, Finder)\n";

static PyObject *receive_check; /* the receive path's target; NULL: it is the next one */
static int (*check)(const uint8_t *data, size_t size);

const char *__asan_default_options(void) {
  /* Python leaves its own objects to the end of the process: leaks look the same. A larger quarantine only
   * costs time: what one input freed is long forgotten. */
  return "detect_leaks=0:detect_stack_use_after_return=1:quarantine_size_mb=64";
}

const char *__ubsan_default_options(void) { return "print_stacktrace=1"; }

static void give_up(void) {
  PyErr_Print();
  abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  PyPreConfig memory;
  PyPreConfig_InitPythonConfig(&memory);
  memory.allocator = PYMEM_ALLOCATOR_MALLOC; /* Python's own pools would hide its objects' ends from ASan */
  Py_PreInitialize(&memory);

#define MODULE(full_name, name) PyImport_AppendInittab(full_name, PyInit_##name);
#include "modules.inc"
#undef MODULE
#define TARGET(name) PyImport_AppendInittab("fuzz_" #name, PyInit_fuzz_##name);
#include "targets.inc"
#undef TARGET

  PyConfig config;
  PyConfig_InitPythonConfig(&config);
  config.install_signal_handlers = 0;
  PyConfig_SetBytesString(&config, &config.program_name, FUZZ_PYTHON);
  PyConfig_SetBytesString(&config, &config.pythonpath_env, FUZZ_ROOT);
  PyStatus status = Py_InitializeFromConfig(&config);
  if (PyStatus_Exception(status)) Py_ExitStatusException(status);
  PyConfig_Clear(&config);
  if (PyRun_SimpleString(FIND_BUILT_IN) < 0) abort();

  const char *target = getenv("FASTLOG_FUZZ");
  if (!target) target = TARGETS[0].name;
  if (strcmp(target, "receive") == 0) {
    PyObject *module = PyImport_ImportModule("tests.fuzz.receive");
    receive_check = module ? PyObject_GetAttrString(module, "check") : NULL;
    if (!receive_check) give_up();
    return 0;
  }
  for (size_t i = 0; i < sizeof(TARGETS) / sizeof(TARGETS[0]); i++) {
    if (strcmp(target, TARGETS[i].name) != 0) continue;
    if (!PyImport_ImportModule(TARGETS[i].module)) give_up();
    check = TARGETS[i].check;
  }
  if (!check) abort();
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!receive_check) {
    if (check(data, size) < 0) give_up();
    return 0;
  }
  PyObject *done = PyObject_CallFunction(receive_check, "y#", (const char *)data, (Py_ssize_t)size);
  if (!done) give_up();
  Py_DECREF(done);
  return 0;
}

/* The arena is one mapping, in which ASan sees no ends. So whatever the kernel did not fill of a slot is poisoned, up
 * to the next slot, until the next call: a scan that reads one byte past its datagram is reported. */
int __real_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout);
int __wrap_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout);

int __wrap_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout) {
  static struct iovec poisoned[1024];
  static int poisoned_count;
  for (int i = 0; i < poisoned_count; i++) ASAN_UNPOISON_MEMORY_REGION(poisoned[i].iov_base, poisoned[i].iov_len);
  poisoned_count = 0;
  if (count < 2 || count > 1024) abort();
  size_t stride = (char *)messages[1].msg_hdr.msg_iov->iov_base - (char *)messages[0].msg_hdr.msg_iov->iov_base;
  int got = __real_recvmmsg(fd, messages, count, flags, timeout);
  for (int i = 0; i < got; i++) {
    poisoned[i].iov_base = (char *)messages[i].msg_hdr.msg_iov->iov_base + messages[i].msg_len;
    poisoned[i].iov_len = stride - messages[i].msg_len;
    ASAN_POISON_MEMORY_REGION(poisoned[i].iov_base, poisoned[i].iov_len);
  }
  if (got > 0) poisoned_count = got;
  return got;
}
