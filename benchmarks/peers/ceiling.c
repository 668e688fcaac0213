// ceiling: the least work that a collector can do for a datagram. It is received, its bytes and a line feed are copied
// to a buffer, and the buffer is written to a file. Nothing is checked, acknowledged, accounted for or rotated.
//
// usage: ceiling PORT FILE [WAIT_USEC]
//   WAIT_USEC  when a datagram has arrived, wait that long for more of them
//
// Ends on SIGTERM, after it has written everything it holds.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  SLOTS = 256,              // datagrams of one recvmmsg call
  SLOT_BYTES = 65536,       // the largest datagram
  WRITE_BYTES = 256 << 10,  // written at once, unless a lull comes before
  RECEIVE_BYTES = 4 << 20,  // receive buffer asked for, as by the others
  CHECK_STOP_MSEC = 200,    // after this time a signal that came just before poll is seen
};

static volatile sig_atomic_t stop;
static void on_term(int number) {
  (void)number;
  stop = 1;
}

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static size_t write_out(int file, const char *buffer, size_t used) {
  for (size_t done = 0; done < used;) {
    ssize_t got = write(file, buffer + done, used - done);
    if (got < 0 && errno != EINTR) fail("ceiling: write");
    if (got > 0) done += (size_t)got;
  }
  return 0;
}

int main(int argc, char **argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: ceiling PORT FILE [WAIT_USEC]\n");
    return 2;
  }
  useconds_t wait_usec = argc > 3 ? (useconds_t)atoi(argv[3]) : 0;
  int file = open(argv[2], O_WRONLY | O_CREAT | O_APPEND, 0640);
  if (file < 0) fail(argv[2]);
  sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_term}, NULL);

  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), receive_bytes = RECEIVE_BYTES;
  if (fd < 0) fail("ceiling: socket");
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &receive_bytes, sizeof receive_bytes))
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
  struct sockaddr_in at = {.sin_family = AF_INET,
                           .sin_port = htons((uint16_t)atoi(argv[1])),
                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(fd, (struct sockaddr *)&at, sizeof at)) fail("ceiling: bind");

  static struct mmsghdr messages[SLOTS];
  static struct iovec vectors[SLOTS];
  static struct sockaddr_in senders[SLOTS];
  char *slots = malloc((size_t)SLOTS * SLOT_BYTES), *buffer = malloc(WRITE_BYTES + (size_t)SLOTS * (SLOT_BYTES + 1));
  if (!slots || !buffer) fail("ceiling: memory");
  for (size_t i = 0; i < SLOTS; i++) {
    vectors[i] = (struct iovec){slots + i * SLOT_BYTES, SLOT_BYTES};
    messages[i].msg_hdr =
        (struct msghdr){.msg_name = &senders[i], .msg_namelen = sizeof *senders, .msg_iov = &vectors[i], .msg_iovlen = 1};
  }
  size_t used = 0;
  for (;;) {
    int got = recvmmsg(fd, messages, SLOTS, 0, NULL);
    if (got > 0) {
      for (int i = 0; i < got; i++) {
        memcpy(buffer + used, vectors[i].iov_base, messages[i].msg_len);
        used += messages[i].msg_len;
        buffer[used++] = '\n';
        messages[i].msg_hdr.msg_namelen = sizeof *senders;
      }
      if (used >= WRITE_BYTES) used = write_out(file, buffer, used);
    } else if (errno == EAGAIN) {
      used = write_out(file, buffer, used);
      if (stop) return 0;
      struct pollfd readable = {fd, POLLIN, 0};
      if (poll(&readable, 1, CHECK_STOP_MSEC) > 0 && wait_usec) usleep(wait_usec);
    } else if (errno != EINTR) {
      fail("ceiling: recvmmsg");
    }
  }
}
