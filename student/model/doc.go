// Package model is the student: the DeepSeek-V3 architecture (multi-head latent
// attention; dense layers, then routed and shared experts) with its weights, its
// forward and hand-written backward pass, and a decoder over the latent cache.
//
// It is what Hugging Face transformers calls DeepseekV3ForCausalLM with
// n_group = topk_group = 1, norm_topk_prob, interleaved rotary pairs and no
// attention bias; [Model.Tensors] has the names and layouts of that checkpoint.
// It is not the optimiser, the data or the schedule (student/train), and it
// reads and writes no files (student/export).
//
// # Shapes
//
// Matrices are row-major float32, weights [out, in]. Activations have one row a
// token; sequences are packed one after the other without padding, see [Batch].
//
//	T tokens, d hidden size, H heads, n and r the parts of a head's query and
//	key without and with rotary position, v a head's value, c the latent size
//
//	x        [T, d]        residual stream
//	q        [T, H·(n+r)]  queries: W_Q·norm(x), or W_QB·norm(W_QA·norm(x))
//	c, k_R   [T, c], [T, r]  the latent and the shared rotary key: all that is cached
//	k_n, v   [T, H·(n+v)]  W_KVB·norm(c), a head's key and value side by side
//
// # Determinism
//
// A result depends on weights and batch alone, bit for bit, with one instruction
// set: work is cut into parts of fixed size whatever the number of threads, and
// sums over parts are taken in order. What the decoder says in one slot does not
// depend on the other slots.
//
// # Errors
//
// What a caller can get wrong (a configuration, a batch, tensors that do not
// fit) is an error that names it; misuse in the order of calls panics.
package model
