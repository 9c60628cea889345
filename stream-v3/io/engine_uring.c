/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <liburing.h>

#include "engine.h"

struct uring_engine {
    struct xensave_io_engine engine;
    struct io_uring ring;
    bool fixed_buffers;
};

static int uring_submit(struct xensave_io_engine *engine,
                        const struct xensave_transfer *transfer)
{
    struct uring_engine *uring = (struct uring_engine *)engine;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    int r;

    if (!sqe)
        return EBUSY;
    if (uring->fixed_buffers && transfer->write)
        io_uring_prep_write_fixed(sqe, 0, transfer->data, transfer->length,
                                  transfer->offset, 0);
    else if (uring->fixed_buffers)
        io_uring_prep_read_fixed(sqe, 0, transfer->data, transfer->length,
                                 transfer->offset, 0);
    else if (transfer->write)
        io_uring_prep_write(sqe, 0, transfer->data, transfer->length,
                            transfer->offset);
    else
        io_uring_prep_read(sqe, 0, transfer->data, transfer->length,
                           transfer->offset);
    io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
    io_uring_sqe_set_data(sqe, (void *)(uintptr_t)transfer->buffer);
    do {
        r = io_uring_submit(&uring->ring);
    } while (r == -EINTR || r == -EAGAIN);
    if (r < 0)
        return -r;
    engine->busy++;
    return 0;
}

static bool uring_reap(struct xensave_io_engine *engine, bool block,
                       uint32_t *buffer, int *result)
{
    struct uring_engine *uring = (struct uring_engine *)engine;
    struct io_uring_cqe *cqe;
    int r;

    do {
        r = block ? io_uring_wait_cqe(&uring->ring, &cqe)
                  : io_uring_peek_cqe(&uring->ring, &cqe);
    } while (r == -EINTR);
    if (r)
        return false;
    *buffer = (uintptr_t)io_uring_cqe_get_data(cqe);
    *result = cqe->res;
    io_uring_cqe_seen(&uring->ring, cqe);
    engine->busy--;
    return true;
}

static void uring_free(struct xensave_io_engine *engine)
{
    struct uring_engine *uring = (struct uring_engine *)engine;

    io_uring_queue_exit(&uring->ring);
    free(uring);
}

static const struct xensave_io_engine_ops uring_ops = {
    .submit = uring_submit,
    .reap = uring_reap,
    .free = uring_free,
};

struct xensave_io_engine *xensave_io_engine_uring(
    int fd, const struct xensave_buffers *buffers)
{
    struct iovec region = { buffers->base, buffers->length };
    struct uring_engine *uring;
    int r;

    uring = calloc(1, sizeof(*uring));
    if (!uring)
        return NULL;
    uring->engine.ops = &uring_ops;
    r = io_uring_queue_init(buffers->count, &uring->ring, 0);
    if (r)
        goto out;
    /* Children of the program have no business with it. */
    io_uring_ring_dontfork(&uring->ring);
    r = io_uring_register_files(&uring->ring, &fd, 1);
    if (r) {
        io_uring_queue_exit(&uring->ring);
        goto out;
    }
    /* Refused where the limit on locked memory is low; nothing is lost. */
    uring->fixed_buffers = !io_uring_register_buffers(&uring->ring, &region,
                                                      1);
    return &uring->engine;

out:
    free(uring);
    errno = -r;
    return NULL;
}
