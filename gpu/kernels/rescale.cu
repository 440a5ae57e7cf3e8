// The two things that are done to a stored tensor. rescale: dst[e] = round(src[e] · s), where s is the float64 product of the factors' scales of element e, taken
// in order. One float64 multiplication, one rounding to nearest even; every NaN result is the type's canonical quiet NaN,
// subnormals are kept. tensor.Rescale is the definition, and zoo/tensor/reference.go its plain form. sum: src[e] · s added
// up for each channel of a layout, as tensor.Sum says, of which zoo/tensor/sum.go has the plain form.
//
// Compiled to PTX by make kernels, without contraction and without flushing subnormals.

typedef unsigned long long u64;
typedef unsigned int u32;
typedef unsigned short u16;

// Factor is tensor.Factor: element e belongs to channel e/span·channels + e/inner%channels.
struct Factor {
	u64 inner, channels, span;
	const double *scale;
};

// Tally is tensor.Tally, with the largest u64 where there is no first element.
struct Tally {
	u64 non_finite, first_non_finite, overflow, first_overflow, subnormal, first_subnormal;
};

// scales_of multiplies the scales of N elements, from e on. It takes one factor at least: the host gives a factor of one
// scale, 1, where there is none. It divides once for all N, and counts on from there.
template <int N> __device__ void scales_of(double *s, u64 e, const Factor *factors, u64 count) {
	for (int k = 0; k < N; k++) {
		s[k] = 1;
	}
#pragma unroll 1
	do {
		const Factor f = *factors++;
		u64 row = e / f.inner, block = e / f.span, channel = row % f.channels;
		u64 of_row = (row + 1) * f.inner - e, of_block = (block + 1) * f.span - e; // elements left
		const double *scale = f.scale + block * f.channels;
#pragma unroll
		for (int k = 0; k < N; k++) {
			s[k] *= scale[channel];
			if (k + 1 == N) {
				break;
			}
			if (--of_row == 0) {
				of_row = f.inner;
				channel = channel + 1 == f.channels ? 0 : channel + 1;
			}
			if (--of_block == 0) {
				of_block = f.span;
				scale += f.channels;
			}
		}
	} while (--count);
}

__device__ void note(u64 *count, u64 *first, u64 e) {
	atomicAdd(count, 1ULL);
	atomicMin(first, e);
}

// count is tensor.Tally.Count, by the exponents: all ones where a number is not finite, 0 where it is subnormal or zero.
template <typename T> __device__ void count(Tally *t, u64 e, typename T::bits before, typename T::bits after, double scale) {
	const typename T::bits was = before & T::exponent, is = after & T::exponent;
	if (was == T::exponent) {
		note(&t->non_finite, &t->first_non_finite, e);
	} else if (is == T::exponent) {
		note(&t->overflow, &t->first_overflow, e);
	} else if (scale != 0 && was != 0 && is == 0) {
		note(&t->subnormal, &t->first_subnormal, e);
	}
}

const u64 sign64 = 1ULL << 63, infinity64 = 2047ULL << 52;

// F64, F32, F16 and BF16 read and write one element; exponent is the mask of its exponent.
struct F64 {
	typedef u64 bits;
	static const bits exponent = infinity64;
	static __device__ double decode(bits b) { return __longlong_as_double(b); }
	static __device__ bits encode(double x) { return x == x ? __double_as_longlong(x) : 0x7ff8000000000000ULL; }
};

struct F32 {
	typedef u32 bits;
	static const bits exponent = 255u << 23;
	static __device__ double decode(bits b) { return __uint_as_float(b); }
	static __device__ bits encode(double x) { return x == x ? __float_as_uint(__double2float_rn(x)) : 0x7fc00000u; }
};

// Small is a 16-bit type of so many mantissa bits and that exponent bias, rounded once from the float64's bits.
template <int mantissa, int bias> struct Small {
	typedef u16 bits;
	static const int exponents = (1 << (15 - mantissa)) - 1; // the exponent of infinity
	static const bits exponent = exponents << mantissa;
	static __device__ double decode(bits b) {
		u64 sign = (u64)(b >> 15) << 63, fraction = b & ((1u << mantissa) - 1);
		int exponent = b >> mantissa & exponents;
		if (exponent == 0) { // fraction · 2^(1-bias-mantissa), exactly
			double x = (double)fraction * __longlong_as_double((u64)(1023 + 1 - bias - mantissa) << 52);
			return __longlong_as_double(sign | __double_as_longlong(x));
		}
		u64 wide = exponent == exponents ? 2047 : exponent - bias + 1023;
		return __longlong_as_double(sign | wide << 52 | fraction << (52 - mantissa));
	}
	static __device__ bits encode(double x) {
		u64 b = __double_as_longlong(x);
		u32 sign = (u32)(b >> 48) & 0x8000;
		u64 magnitude = b & ~sign64;
		if (magnitude > infinity64) {
			return exponents << mantissa | 1 << (mantissa - 1);
		}
		int exponent = (int)(magnitude >> 52) - 1023 + bias;
		if (exponent >= exponents) {
			return sign | exponents << mantissa;
		}
		u64 significand = (magnitude & ((1ULL << 52) - 1)) | 1ULL << 52;
		int below = max(1 - exponent, 0); // a subnormal has no hidden bit, and lies so much further right
		int drop = 52 - mantissa + below;
		if (drop > 53) { // less than half of the least subnormal
			return sign;
		}
		u64 head = (u64)(exponent - 1 + below) << mantissa; // the hidden bit adds one
		u64 kept = significand >> drop, rest = significand & ((1ULL << drop) - 1), half = 1ULL << (drop - 1);
		if (rest > half || (rest == half && (kept & 1))) {
			kept++;
		}
		return sign | (u32)(head + kept); // a carry goes into the exponent, up to infinity
	}
};

// one does the element e of the tensor.
template <typename T> __device__ typename T::bits one(typename T::bits b, double s, u64 e, Tally *tally) {
	typename T::bits after = T::encode(T::decode(b) * s);
	count<T>(tally, e, b, after, s);
	return after;
}

// pack<T> does the 16 bytes of a vector, of 32-bit words or of 64-bit ones.
template <typename T> __device__ uint4 pack(uint4 v, const double *s, u64 e, Tally *tally) {
	u32 words[4] = {v.x, v.y, v.z, v.w};
	const int per_word = 4 / sizeof(typename T::bits), width = 32 / per_word;
#pragma unroll
	for (int w = 0; w < 4; w++) {
		u32 done = 0;
#pragma unroll
		for (int k = 0; k < per_word; k++) {
			int at = w * per_word + k;
			done |= (u32)one<T>((typename T::bits)(words[w] >> (k * width)), s[at], e + at, tally) << (k * width);
		}
		words[w] = done;
	}
	return make_uint4(words[0], words[1], words[2], words[3]);
}

template <typename T> __device__ ulonglong2 pack(ulonglong2 v, const double *s, u64 e, Tally *tally) {
	return make_ulonglong2(one<T>(v.x, s[0], e, tally), one<T>(v.y, s[1], e + 1, tally));
}

// rescale does n elements, the first of which is the tensor's element first. dst and src are aligned to 16 bytes.
template <typename T, typename Vector>
__device__ void rescale(u64 dst, u64 src, u64 n, u64 first, u64 factors, u64 count_of_factors, u64 tally) {
	typedef typename T::bits bits;
	const int per = 16 / sizeof(bits);
	const u64 thread = (u64)blockIdx.x * blockDim.x + threadIdx.x, threads = (u64)gridDim.x * blockDim.x, whole = n / per;
#pragma unroll 1
	for (u64 g = thread; g < whole; g += threads) {
		double s[per];
		u64 e = first + g * per;
		scales_of<per>(s, e, (const Factor *)factors, count_of_factors);
		((Vector *)dst)[g] = pack<T>(((const Vector *)src)[g], s, e, (Tally *)tally);
	}
	u64 i = whole * per + thread; // the tail is shorter than a block
	if (i < n) {
		double s;
		scales_of<1>(&s, first + i, (const Factor *)factors, count_of_factors);
		((bits *)dst)[i] = one<T>(((const bits *)src)[i], s, first + i, (Tally *)tally);
	}
}

// Partial is tensor.Partial: a sum, and what rounding has lost of it.
struct Partial {
	double sum, lost;
};

const u32 ways = 32; // tensor.Ways

// Channel is where a channel's elements lie: inner of them behind one another, the next ones a row further, total in all.
struct Channel {
	u64 base, row, inner, total;
	// before is how many of them come before element e.
	__device__ u64 before(u64 e) const {
		if (e <= base) {
			return 0;
		}
		u64 rows = (e - base) / row, rest = (e - base) - rows * row;
		return min(rows * inner + min(rest, inner), total);
	}
};

// sum adds n elements, the first of which is the tensor's element first, to the partial sums of the layout
// [blocks, outer, channels, inner], count of them. A thread does whole partial sums, each in the order of its elements.
template <typename T>
__device__ void sum(u64 partials, u64 count, u64 src, u64 n, u64 first, u64 factors, u64 count_of_factors, u64 outer, u64 channels, u64 inner) {
	const u64 threads = (u64)gridDim.x * blockDim.x;
#pragma unroll 1
	for (u64 p = (u64)blockIdx.x * blockDim.x + threadIdx.x; p < count; p += threads) {
		const u32 way = (u32)p % ways, c = (u32)p / ways, block = c / (u32)channels; // there are fewer than 2^32
		const Channel of = {(block * outer * channels + c % (u32)channels) * inner, channels * inner, inner, outer * inner};
		const u64 from = of.before(first), to = of.before(first + n);
		Partial partial = ((Partial *)partials)[p];
#pragma unroll 1
		for (u64 j = from + (way - from) % ways; j < to; j += ways) {
			const u64 rows = j / inner, e = of.base + rows * of.row + (j - rows * inner);
			double s;
			scales_of<1>(&s, e, (const Factor *)factors, count_of_factors);
			const double x = T::decode(((const typename T::bits *)src)[e - first]) * s, t = partial.sum + x;
			if (fabs(partial.sum) >= fabs(x)) {
				partial.lost += (partial.sum - t) + x;
			} else {
				partial.lost += (x - t) + partial.sum;
			}
			partial.sum = t;
		}
		((Partial *)partials)[p] = partial;
	}
}

#define ENTRY(name, type, vector)                                                                                           \
	extern "C" __global__ void name(u64 dst, u64 src, u64 n, u64 first, u64 factors, u64 count, u64 tally) {              \
		rescale<type, vector>(dst, src, n, first, factors, count, tally);                                                   \
	}

typedef Small<10, 15> F16;
typedef Small<7, 127> BF16;

ENTRY(rescale_f64, F64, ulonglong2)
ENTRY(rescale_f32, F32, uint4)
ENTRY(rescale_f16, F16, uint4)
ENTRY(rescale_bf16, BF16, uint4)

#define SUM(name, type)                                                                                                          \
	extern "C" __global__ void name(u64 partials, u64 count, u64 src, u64 n, u64 first, u64 factors, u64 count_of_factors,    \
	                                u64 outer, u64 channels, u64 inner) {                                                    \
		sum<type>(partials, count, src, n, first, factors, count_of_factors, outer, channels, inner);                           \
	}

SUM(sum_f64, F64)
SUM(sum_f32, F32)
SUM(sum_f16, F16)
SUM(sum_bf16, BF16)
