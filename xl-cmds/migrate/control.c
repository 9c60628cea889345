/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the listener answers a session: two descriptors, or why not. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "listener.h"

union space {
    struct cmsghdr align;
    char octets[CMSG_SPACE(2 * sizeof(int))];
};

int control_send_fds(int control, const int fds[2])
{
    union space space = { 0 };
    char yes = 1;
    struct iovec iov = { &yes, 1 };
    struct msghdr message = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = space.octets,
        .msg_controllen = sizeof(space.octets),
    };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);

    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(2 * sizeof(int));
    memcpy(CMSG_DATA(header), fds, 2 * sizeof(int));
    return sendmsg(control, &message, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

int control_receive_fds(int control, int fds[2], char *why, size_t size)
{
    union space space;
    struct iovec iov = { why, size - 1 };
    struct msghdr message = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = space.octets,
        .msg_controllen = sizeof(space.octets),
    };
    struct cmsghdr *header;
    ssize_t r;

    do {
        r = recvmsg(control, &message, MSG_CMSG_CLOEXEC);
    } while (r < 0 && errno == EINTR);
    if (r <= 0)
        r = snprintf(why, size, "the listener is gone");
    why[r] = '\0';
    header = why[0] == 1 ? CMSG_FIRSTHDR(&message) : NULL;
    if (!header || header->cmsg_type != SCM_RIGHTS ||
        header->cmsg_len != CMSG_LEN(2 * sizeof(int)))
        return -1;
    memcpy(fds, CMSG_DATA(header), 2 * sizeof(int));
    return 0;
}
