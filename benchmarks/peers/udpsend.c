// udpsend: sends log entries in UDP datagrams to a port of the loopback interface, at a pace or as fast as possible.
//
// usage: udpsend -p PORT -f FILE -n ENTRIES [-r RATE] [-b BURST] [-s SENDERS] [-k ENTRIES] [-g BYTES]
//   -f FILE     entries, one a line, sent in turn; the ten digits that follow `"sequence":` are replaced by a count
//               of each sender, so that no two entries are the same
//   -r RATE     datagrams a second; 0: as fast as possible
//   -b BURST    datagrams of one sendmmsg call, which is also the grain of the pace
//   -s SENDERS  distinct source addresses in turn, one for each datagram, from 127.1.0.0 on
//   -k ENTRIES  entries in a datagram, separated by line feeds
//   -g BYTES    all entries are padded to that size, and as many as fit are handed to the kernel at once (UDP_SEGMENT)
//
// Prints the entries, datagrams and bytes sent, and the seconds that took, as one JSON object. Answers are not read.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103 // linux/udp.h
#endif

enum {
  DATAGRAM_MAX = 65507, // bytes that fit in an IPv4 datagram
  BURST_MAX = 1024,     // the most that one sendmmsg call takes (UIO_MAXIOV)
  SEGMENTS_MAX = 64,    // the most that the kernel takes in one UDP_SEGMENT send (UDP_MAX_SEGMENTS of older kernels)
  SENDERS_MAX = 60000,  // 127.1.0.0 … 127.1.255.255, with some to spare
  DIGITS = 10,
  SPIN_NS = 60000, // a sleep ends some tens of microseconds late; that much of each wait is spun instead
};
static const uint64_t FIRST_SEQUENCE = 1000000000; // the smallest number of ten digits

typedef struct {
  char *text;
  size_t size;
  size_t digits_at; // 0: the entry has no sequence to replace
} Entry;

typedef struct {
  struct iovec data;
  struct sockaddr_in to;
  char text[DATAGRAM_MAX + 1];
  union {
    char bytes[CMSG_SPACE(sizeof(struct in_pktinfo))];
    struct cmsghdr aligned;
  } control;
} Slot;

static Entry *entries;
static size_t entry_count, next_entry;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static void usage(const char *why) {
  fprintf(stderr, "udpsend: %s; see the first lines of udpsend.c\n", why);
  exit(2);
}

static void *memory(size_t count, size_t size) {
  void *p = calloc(count, size);
  if (!p) fail("udpsend: memory");
  return p;
}

static void read_entries(const char *path, size_t size_max) {
  FILE *file = fopen(path, "r");
  if (!file) fail(path);
  size_t capacity = 0, line_capacity = 0;
  char *line = NULL;
  ssize_t got;
  while ((got = getline(&line, &line_capacity, file)) > 0) {
    size_t size = (size_t)got;
    if (line[size - 1] == '\n') line[--size] = 0;
    if (size == 0 || size > size_max) continue;
    if (entry_count == capacity) {
      capacity = capacity ? 2 * capacity : 1024;
      entries = realloc(entries, capacity * sizeof *entries);
      if (!entries) fail("udpsend: memory");
    }
    static const char key[] = "\"sequence\":";
    char *found = strstr(line, key);
    size_t at = found ? (size_t)(found - line) + strlen(key) : 0;
    if (found && strspn(line + at, "0123456789") != DIGITS) at = 0;
    entries[entry_count++] = (Entry){strdup(line), size, at};
  }
  free(line);
  fclose(file);
  if (!entry_count) usage("no entries in the file that fit");
}

static size_t put_entry(char *at, uint64_t sequence) {
  const Entry *entry = &entries[next_entry];
  next_entry = next_entry + 1 == entry_count ? 0 : next_entry + 1;
  memcpy(at, entry->text, entry->size);
  if (entry->digits_at)
    for (int i = DIGITS - 1; i >= 0; i--, sequence /= 10) at[entry->digits_at + i] = (char)('0' + sequence % 10);
  return entry->size;
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void wait_until(uint64_t due_ns) {
  if (due_ns > now_ns() + SPIN_NS) {
    uint64_t wake = due_ns - SPIN_NS;
    struct timespec until = {(time_t)(wake / 1000000000u), (long)(wake % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {}
  }
  while (now_ns() < due_ns) {}
}

static bool passes(void) { return errno == EINTR || errno == EAGAIN || errno == ENOBUFS; }

int main(int argc, char **argv) {
  const char *file = NULL;
  int port = 0, option;
  size_t burst = 64, senders = 1, together = 1, segment = 0;
  uint64_t wanted = 0;
  double rate = 0;
  while ((option = getopt(argc, argv, "p:f:n:r:b:s:k:g:")) != -1) switch (option) {
    case 'p': port = atoi(optarg); break;
    case 'f': file = optarg; break;
    case 'n': wanted = strtoull(optarg, NULL, 10); break;
    case 'r': rate = atof(optarg); break;
    case 'b': burst = strtoul(optarg, NULL, 10); break;
    case 's': senders = strtoul(optarg, NULL, 10); break;
    case 'k': together = strtoul(optarg, NULL, 10); break;
    case 'g': segment = strtoul(optarg, NULL, 10); break;
    default: usage("unknown option");
  }
  if (port <= 0 || !file || !wanted) usage("-p, -f and -n are required");
  if (burst < 1 || burst > BURST_MAX) usage("-b is 1 to 1024");
  if (senders < 1 || senders > SENDERS_MAX) usage("-s is 1 to 60000");
  if (!together) usage("-k is at least 1");
  if (segment > DATAGRAM_MAX / 2 || (segment && (senders > 1 || together > 1))) usage("-g goes with neither -s nor -k");
  read_entries(file, segment ? segment : DATAGRAM_MAX);

  int fd = socket(AF_INET, SOCK_DGRAM, 0), buffer_bytes = 4 << 20;
  if (fd < 0) fail("socket");
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof buffer_bytes); // whatever the kernel grants is enough
  const struct sockaddr_in to = {
      .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  // One socket sends from many addresses: the source of each datagram is in its control message (ip(7), IP_PKTINFO).
  if (senders == 1 && connect(fd, (const struct sockaddr *)&to, sizeof to)) fail("connect");
  int segment_size = (int)segment;
  if (segment && setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &segment_size, sizeof segment_size)) fail("UDP_SEGMENT");

  struct mmsghdr *messages = memory(burst, sizeof *messages);
  Slot *slots = memory(burst, sizeof *slots);
  uint64_t *sequences = memory(senders, sizeof *sequences);
  for (size_t i = 0; i < senders; i++) sequences[i] = FIRST_SEQUENCE + i * (8000000000u / senders);
  for (size_t i = 0; i < burst; i++) {
    struct msghdr *header = &messages[i].msg_hdr;
    slots[i].data.iov_base = slots[i].text;
    header->msg_iov = &slots[i].data;
    header->msg_iovlen = 1;
    if (senders > 1) {
      slots[i].to = to;
      header->msg_name = &slots[i].to;
      header->msg_namelen = sizeof to;
      header->msg_control = slots[i].control.bytes;
      header->msg_controllen = sizeof slots[i].control.bytes;
      struct cmsghdr *control = CMSG_FIRSTHDR(header);
      control->cmsg_level = IPPROTO_IP;
      control->cmsg_type = IP_PKTINFO;
      control->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
    }
  }
  size_t segments = segment ? DATAGRAM_MAX / segment : 0;
  if (segments > SEGMENTS_MAX) segments = SEGMENTS_MAX;

  uint64_t datagrams = 0, sent = 0, bytes = 0;
  size_t sender = 0;
  uint64_t started = now_ns();
  while (sent < wanted) {
    if (rate > 0) wait_until(started + (uint64_t)((double)datagrams / rate * 1e9));
    if (segment) {
      size_t size = 0, count = 0;
      for (; count < segments && sent < wanted; count++, sent++) {
        size_t used = put_entry(slots[0].text + size, sequences[0]++);
        memset(slots[0].text + size + used, ' ', segment - used);
        size += segment;
      }
      while (send(fd, slots[0].text, size, 0) < 0)
        if (!passes()) fail("send");
      datagrams += count;
      bytes += size;
      continue;
    }
    size_t filled = 0;
    for (; filled < burst && sent < wanted; filled++) {
      Slot *slot = &slots[filled];
      size_t size = 0;
      for (size_t i = 0; i < together && sent < wanted; i++) {
        if (size + (i > 0) + entries[next_entry].size > DATAGRAM_MAX) break;
        if (i) slot->text[size++] = '\n';
        size += put_entry(slot->text + size, sequences[sender]++);
        sent++;
      }
      slot->data.iov_len = size;
      bytes += size;
      if (senders > 1) {
        struct in_pktinfo from = {.ipi_spec_dst.s_addr = htonl(0x7f010000u + (uint32_t)sender)};
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&messages[filled].msg_hdr)), &from, sizeof from);
        sender = sender + 1 == senders ? 0 : sender + 1;
      }
    }
    for (size_t done = 0; done < filled;) {
      int taken = sendmmsg(fd, messages + done, (unsigned)(filled - done), 0);
      if (taken > 0) done += (size_t)taken;
      else if (!passes()) fail("sendmmsg");
    }
    datagrams += filled;
  }
  double seconds = (double)(now_ns() - started) / 1e9;
  printf("{\"entries\": %llu, \"datagrams\": %llu, \"bytes\": %llu, \"seconds\": %.6f}\n", (unsigned long long)sent,
         (unsigned long long)datagrams, (unsigned long long)bytes, seconds);
  return 0;
}
