/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Registers as Xen's interface has them on x86, reduced to what is used. */
#ifndef XENSAVE_CORE_CONTEXT_H
#define XENSAVE_CORE_CONTEXT_H

#include <stddef.h>
#include <stdint.h>

#define CONTEXT_FPU_VALID (1U << 0)
#define CONTEXT_IN_KERNEL (1U << 2)
#define CONTEXT_ONLINE    (1U << 5)

/* vcpu_guest_context of a 64-bit domain. */
struct context64 {
    uint8_t fpu[512];
    uint64_t flags;
    uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8;
    uint64_t rax, rcx, rdx, rsi, rdi;
    uint32_t error_code, entry_vector;
    uint64_t rip;
    uint16_t cs, cs_pad;
    uint8_t upcall_mask, upcall_pad[3];
    uint64_t rflags, rsp;
    uint16_t ss, ss_pad[3], es, es_pad[3], ds, ds_pad[3];
    uint16_t fs, fs_pad[3], gs, gs_pad[3];
    uint8_t traps[4096];
    uint64_t ldt_base, ldt_entries;
    uint64_t gdt_frame[16], gdt_entries;
    uint64_t kernel_ss, kernel_sp;
    uint64_t cr[8], dr[8];
    uint64_t event_callback, failsafe_callback, syscall_callback;
    uint64_t vm_assist;
    uint64_t fs_base, gs_base_kernel, gs_base_user;
};

/* Of a 32-bit PV domain. */
struct context32 {
    uint8_t fpu[512];
    uint32_t flags;
    uint32_t ebx, ecx, edx, esi, edi, ebp, eax;
    uint16_t error_code, entry_vector;
    uint32_t eip;
    uint16_t cs;
    uint8_t upcall_mask, upcall_pad;
    uint32_t eflags, esp;
    uint16_t ss, ss_pad, es, es_pad, ds, ds_pad, fs, fs_pad, gs, gs_pad;
    uint8_t traps[2048];
    uint32_t ldt_base, ldt_entries;
    uint32_t gdt_frame[16], gdt_entries;
    uint32_t kernel_ss, kernel_sp;
    uint32_t cr[8], dr[8];
    uint32_t event_callback_cs, event_callback;
    uint32_t failsafe_callback_cs, failsafe_callback;
    uint32_t vm_assist;
};

_Static_assert(sizeof(struct context64) == 5168, "size");
_Static_assert(offsetof(struct context64, cr) == 4984, "layout");
_Static_assert(sizeof(struct context32) == 2800, "size");
_Static_assert(offsetof(struct context32, cr) == 2716, "layout");

/* The hypervisor's record of a CPU of a translated domain. */
struct hvm_cpu {
    uint8_t fpu[512];
    uint64_t rax, rbx, rcx, rdx, rbp, rsi, rdi, rsp;
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t rip, rflags;
    uint64_t cr0, cr2, cr3, cr4;
    uint64_t dr[6];       /* 0 to 3, 6, 7 */
    uint32_t selector[8]; /* CS DS ES FS GS SS TR LDT */
    uint32_t limit[10];   /* the same, then IDT GDT */
    uint64_t base[10];
    uint32_t attributes[8];
    uint64_t sysenter[3];
    uint64_t shadow_gs;
    uint64_t msr[7];
    uint64_t tsc;
    uint32_t pending_event, error_code;
    uint32_t flags, pad; /* not before Xen 4.7 */
};
#define HVM_CPU_FPU_INITIALISED 1U

_Static_assert(sizeof(struct hvm_cpu) == 1032, "size");
_Static_assert(offsetof(struct hvm_cpu, shadow_gs) == 944, "layout");

#endif /* XENSAVE_CORE_CONTEXT_H */
