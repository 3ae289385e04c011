// Package kernel holds the matrix and vector kernels that students are
// trained and served with: general matrix multiplication, causal attention,
// the elementwise passes of a transformer, the AdamW update, and the worker
// pool that spreads them over cores.
//
// It is not a tensor library: there are no shapes beyond what a call states,
// no autograd and no other type than float32, to which products may round their
// operands (Precision); weights for inference may be held in smaller types (Format),
// among them the blocks of model files. Matrices are row-major slices with a leading dimension
// ("ld", the distance in elements between the starts of two rows, at least the
// row's width). Vectors are slices.
//
// Each kernel has four implementations: AVX-512 and AVX2+FMA for amd64 and NEON
// for arm64, in assembly that internal/kernel/asm generates, and portable Go,
// which is the reference the others are tested against. NEON's is tested under
// emulation, and nobody has timed it. Products of bfloat16 have two more, by
// AVX512-BF16 and by AMX; elsewhere they are those of rounded float32. Products of
// blocks are sums of products of bytes, by AVX512-VNNI, AVX-VNNI or AVX2, and
// portable elsewhere. The best that processor and operating system support is chosen
// at start-up; the environment variable RETORT_KERNEL (amx, avx512bf16, avx512vnni,
// avx512, avxvnni, avx2, neon or portable) forces one. Err reports a choice that the
// machine cannot honour.
//
// # Determinism
//
// With one instruction set, results are the same bits for any number of
// threads: every element of a product is one chain of multiply-adds over k in
// ascending order (of pairs in bfloat16), whatever tile or worker computes it,
// the sum of a vector depends on its length alone (its elements go to
// accumulators in turn, which are folded in a fixed order), and reductions over
// rows are taken in blocks of fixed size that are combined in order.
//
// # Errors
//
// Kernels are called in hot loops by code that knows its shapes, so a slice
// that is too short or a leading dimension that is too small is a programming
// error and panics. A panic inside Pool.Run surfaces on the caller as a
// *PartPanic.
package kernel
