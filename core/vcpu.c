/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From the hypervisor's CPU record to the registers of a core. */
#include "core.h"
#include "context.h"
#include "stream-v3/internal.h"

/* As the record orders them. */
static const enum core_segments order[] = {
    CORE_CS, CORE_DS, CORE_ES,  CORE_FS,  CORE_GS,
    CORE_SS, CORE_TR, CORE_LDT, CORE_IDT, CORE_GDT,
};

static int take(struct hvm_cpu *cpu, const void *record, size_t length)
{
    const size_t least = offsetof(struct hvm_cpu, flags);

    if (length < least) {
        errno = EBADMSG;
        return -1;
    }
    memset(cpu, 0, sizeof(*cpu));
    cpu->flags = HVM_CPU_FPU_INITIALISED;
    memcpy(cpu, record, length < sizeof(*cpu) ? least : sizeof(*cpu));
    return 0;
}

int core_vcpu_segments(struct core_vcpu *vcpu, const void *record,
                       size_t length)
{
    struct hvm_cpu cpu;
    size_t i;

    if (take(&cpu, record, length))
        return -1;
    for (i = 0; i < CORE_SEGMENTS; i++) {
        struct core_segment *segment = &vcpu->segment[order[i]];

        segment->limit = cpu.limit[i];
        segment->base = cpu.base[i];
        if (i >= ARRAY_SIZE(cpu.selector))
            continue;
        segment->selector = cpu.selector[i];
        segment->attributes = cpu.attributes[i];
    }
    vcpu->has_segments = true;
    return 0;
}

static void take_registers(struct context64 *context,
                           const struct hvm_cpu *cpu)
{
    context->r15 = cpu->r15;
    context->r14 = cpu->r14;
    context->r13 = cpu->r13;
    context->r12 = cpu->r12;
    context->r11 = cpu->r11;
    context->r10 = cpu->r10;
    context->r9 = cpu->r9;
    context->r8 = cpu->r8;
    context->rbp = cpu->rbp;
    context->rbx = cpu->rbx;
    context->rax = cpu->rax;
    context->rcx = cpu->rcx;
    context->rdx = cpu->rdx;
    context->rsi = cpu->rsi;
    context->rdi = cpu->rdi;
    context->rip = cpu->rip;
    context->rflags = cpu->rflags;
    context->rsp = cpu->rsp;
}

int core_vcpu_from_hvm(struct core_vcpu *vcpu, const void *record,
                       size_t length)
{
    const struct core_segment *segment = vcpu->segment;
    struct context64 *context = (struct context64 *)vcpu->context;
    struct hvm_cpu cpu;

    memset(vcpu, 0, sizeof(*vcpu));
    if (core_vcpu_segments(vcpu, record, length) || take(&cpu, record, length))
        return -1;
    memcpy(context->fpu, cpu.fpu, sizeof(context->fpu));
    context->flags = CONTEXT_ONLINE;
    if (cpu.flags & HVM_CPU_FPU_INITIALISED)
        context->flags |= CONTEXT_FPU_VALID;
    take_registers(context, &cpu);
    context->cs = segment[CORE_CS].selector;
    context->ss = segment[CORE_SS].selector;
    context->ds = segment[CORE_DS].selector;
    context->es = segment[CORE_ES].selector;
    context->fs = segment[CORE_FS].selector;
    context->gs = segment[CORE_GS].selector;
    context->cr[0] = cpu.cr0;
    context->cr[2] = cpu.cr2;
    context->cr[3] = cpu.cr3;
    context->cr[4] = cpu.cr4;
    memcpy(context->dr, cpu.dr, 4 * sizeof(cpu.dr[0]));
    memcpy(context->dr + 6, cpu.dr + 4, 2 * sizeof(cpu.dr[0]));
    context->fs_base = segment[CORE_FS].base;
    if (context->cs & 3) {
        context->gs_base_user = segment[CORE_GS].base;
        context->gs_base_kernel = cpu.shadow_gs;
    } else {
        context->gs_base_kernel = segment[CORE_GS].base;
        context->gs_base_user = cpu.shadow_gs;
    }
    return 0;
}
