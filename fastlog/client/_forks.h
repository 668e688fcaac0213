/* Forks in C code, and the interpreter's lock.

   A fork copies the lock as it is. If another thread has it or waits for it at that moment, the child waits for ever. A
   fork that Python makes has the lock itself. One that C code makes, as uWSGI does, may not. So such a fork waits until
   no thread of a client is about the lock, and those threads do not ask for it while a fork is under way. */

#include <errno.h>
#include <poll.h>
#include <time.h>

#define NAP_NSEC 500000
#define NAPS_MAX 100 /* a fork waits 50 ms at the most: for a turn of a thread, not for one that hangs */

static int lock_users; /* threads of clients that have the lock, or may ask for it */
static int is_forking;
static int is_fork_of_python; /* under way; written under the lock */
static __thread int is_thread_of_client;

static void nap(void) {
    struct timespec time = {0, NAP_NSEC};
    nanosleep(&time, NULL);
}

static void use_lock(void) {
    for (;;) {
        __atomic_add_fetch(&lock_users, 1, __ATOMIC_SEQ_CST);
        if (!__atomic_load_n(&is_forking, __ATOMIC_SEQ_CST))
            return;
        __atomic_sub_fetch(&lock_users, 1, __ATOMIC_SEQ_CST);
        nap();
    }
}

static void leave_lock(void) { __atomic_sub_fetch(&lock_users, 1, __ATOMIC_SEQ_CST); }

static void thread_begins(void) {
    is_thread_of_client = 1;
    use_lock();
}

static void thread_ends(void) { leave_lock(); }

/* poll(2), without the lock: a fork does not wait for it. */
static int wait_for(struct pollfd *descriptors, unsigned long count, int timeout_ms) {
    int found, error;
    if (is_thread_of_client)
        leave_lock();
    found = poll(descriptors, count, timeout_ms);
    error = errno;
    if (is_thread_of_client)
        use_lock();
    errno = error;
    return found;
}

static void before_fork(void) {
    int naps;
    if (is_fork_of_python)
        return;
    __atomic_store_n(&is_forking, 1, __ATOMIC_SEQ_CST);
    for (naps = 0; naps < NAPS_MAX && __atomic_load_n(&lock_users, __ATOMIC_SEQ_CST) > 0; naps++)
        nap();
}

static void after_fork_in_parent(void) { __atomic_store_n(&is_forking, 0, __ATOMIC_SEQ_CST); }

static void after_fork_in_child(void) {
    __atomic_store_n(&lock_users, is_thread_of_client, __ATOMIC_SEQ_CST);
    __atomic_store_n(&is_forking, 0, __ATOMIC_SEQ_CST);
}
