/* gate: load for a gate, and libzmq's own proxy to stand in its place.
 *
 *   gcc -O2 benches/gate.c -o gate -lzmq
 *
 *   gate proxy FRONT BACK          zmq_proxy: PULL bound at FRONT, PUSH connected to BACK
 *   gate pipe FRONT BACK N SIZE    PUSH connects FRONT, PULL binds BACK; prints messages per second
 *   gate rep EP                    REP bound at EP, echoes
 *   gate rtt EP N SIZE             REQ ping-pong; prints microseconds a round trip, median and p99
 *   gate fan INNER OUTER SUBS STALLED N SIZE WINDOW
 *       XPUB binds INNER and hands over every message; SUBS subscribers connect OUTER and read,
 *       STALLED more never read. The publisher is at most WINDOW messages ahead of the slowest that
 *       reads, so none of those is too slow. Prints the rate at which the slowest got all N, and
 *       waits for a line on its input before it ends, so that counts can be asked for meanwhile. With
 *       PACE in the environment it publishes at most so many in a second.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what) {
    fprintf(stderr, "%s: %s\n", what, zmq_strerror(zmq_errno()));
    exit(1);
}

static void *sock(void *ctx, int type, const char *at, int binds) {
    void *s = zmq_socket(ctx, type);
    int zero = 0;
    zmq_setsockopt(s, ZMQ_LINGER, &zero, sizeof zero);
    if ((binds ? zmq_bind : zmq_connect)(s, at)) die(at);
    return s;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int pipe_(char **v) {
    long n = atol(v[4]);
    size_t size = atol(v[5]);
    if (!fork()) {
        void *s = sock(zmq_ctx_new(), ZMQ_PUSH, v[2], 0);
        int forever = -1;
        zmq_setsockopt(s, ZMQ_LINGER, &forever, sizeof forever);
        char *b = calloc(1, size);
        for (long i = 0; i < n + 1000; i++)
            if (zmq_send(s, b, size, 0) < 0) die("send");
        sleep(1000);
    }
    void *s = sock(zmq_ctx_new(), ZMQ_PULL, v[3], 1);
    char *b = malloc(size);
    /* The first thousand warm it up. */
    for (long i = 0; i < 1000; i++) zmq_recv(s, b, size, 0);
    double start = now();
    for (long i = 0; i < n; i++)
        if (zmq_recv(s, b, size, 0) < 0) die("recv");
    printf("%.0f\n", n / (now() - start));
    fflush(stdout);
    kill(0, 15);
    return 0;
}

static int rtt(char **v) {
    long n = atol(v[3]);
    size_t size = atol(v[4]);
    void *s = sock(zmq_ctx_new(), ZMQ_REQ, v[2], 0);
    char *b = calloc(1, size);
    double *took = malloc(n * sizeof *took);
    for (long i = -1000; i < n; i++) {
        double start = now();
        zmq_send(s, b, size, 0);
        zmq_recv(s, b, size, 0);
        if (i >= 0) took[i] = (now() - start) * 1e6;
    }
    qsort(took, n, sizeof *took, by_size);
    printf("%.1f %.1f\n", took[n / 2], took[n * 99 / 100]);
    return 0;
}

struct seen {
    atomic_long count;
    char pad[56];
};

static void subscriber(char *at, struct seen *seen, long n, size_t size, int stalled) {
    void *s = sock(zmq_ctx_new(), ZMQ_SUB, at, 0);
    int hwm = stalled ? 1 : 0;
    zmq_setsockopt(s, ZMQ_RCVHWM, &hwm, sizeof hwm);
    zmq_setsockopt(s, ZMQ_SUBSCRIBE, "", 0);
    if (stalled) sleep(100000);
    char *b = malloc(size);
    for (long i = 1; i <= n; i++) {
        if (zmq_recv(s, b, size, 0) < 0) die("recv");
        if (i % 64 == 0 || i == n) atomic_store(&seen->count, i);
    }
    sleep(100000);
}

static int fan(char **v) {
    int subs = atoi(v[4]), stalled = atoi(v[5]);
    long n = atol(v[6]), window = atol(v[8]);
    size_t size = atol(v[7]);
    struct seen *seen = mmap(0, sizeof(struct seen) * subs, PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int k = 0; k < subs + stalled; k++)
        if (!fork()) subscriber(v[3], &seen[k], n, size, k >= subs);
    void *ctx = zmq_ctx_new(), *s = zmq_socket(ctx, ZMQ_XPUB);
    int zero = 0, one = 1;
    zmq_setsockopt(s, ZMQ_LINGER, &zero, sizeof zero);
    zmq_setsockopt(s, ZMQ_SNDHWM, &zero, sizeof zero);
    zmq_setsockopt(s, ZMQ_XPUB_VERBOSE, &one, sizeof one);
    if (zmq_bind(s, v[2])) die(v[2]);
    char *b = calloc(1, size > 64 ? size : 64);
    for (int k = 0; k < subs + stalled; k++) zmq_recv(s, b, 64, 0);
    double start = now(), pace = getenv("PACE") ? atof(getenv("PACE")) : 0;
    for (long i = 0; i < n; i++) {
        while (i % 64 == 0 && pace > 0 && i / pace > now() - start) usleep(200);
        while (i % 64 == 0) {
            long least = n;
            for (int k = 0; k < subs; k++) {
                long count = atomic_load(&seen[k].count);
                least = count < least ? count : least;
            }
            if (i - least < window) break;
            usleep(50);
        }
        if (zmq_send(s, b, size, 0) < 0) die("send");
    }
    for (int k = 0; k < subs; k++)
        while (atomic_load(&seen[k].count) < n) usleep(100);
    printf("%.0f\n", n / (now() - start));
    fflush(stdout);
    getchar();
    kill(0, 15);
    return 0;
}

int main(int c, char **v) {
    setpgid(0, 0);
    if (c == 4 && !strcmp(v[1], "proxy")) {
        void *ctx = zmq_ctx_new();
        return zmq_proxy(sock(ctx, ZMQ_PULL, v[2], 1), sock(ctx, ZMQ_PUSH, v[3], 0), 0);
    }
    if (c == 6 && !strcmp(v[1], "pipe")) return pipe_(v);
    if (c == 3 && !strcmp(v[1], "rep")) {
        void *ctx = zmq_ctx_new();
        void *s = sock(ctx, ZMQ_REP, v[2], 1);
        char *b = malloc(1 << 20);
        for (;;) {
            int size = zmq_recv(s, b, 1 << 20, 0);
            if (size < 0 || zmq_send(s, b, size, 0) < 0) die("echo");
        }
    }
    if (c == 5 && !strcmp(v[1], "rtt")) return rtt(v);
    if (c == 9 && !strcmp(v[1], "fan")) return fan(v);
    fprintf(stderr, "what? see the top of gate.c\n");
    return 64;
}
