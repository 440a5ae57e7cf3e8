// Device memory, and the interpreter of PTX over it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

// Block is memory of a device. It belongs to the context that allocated it, and work of no other one reaches it.
struct Block {
	const void *context;
	std::vector<uint8_t> bytes, written;
};
static std::map<uint64_t, Block> blocks; // by address; an address is never given twice
static const void *running = nullptr;    // the context whose work is done

// reach is so many bytes at an address: of a copy, or of one access of a thread, which has to be aligned.
static uint8_t *reach(uint64_t address, uint64_t size, bool write, bool copy) {
	auto at = blocks.upper_bound(address);
	if (at == blocks.begin()) throw std::runtime_error("an address that was never allocated");
	--at;
	Block &b = at->second;
	uint64_t from = address - at->first;
	if (from + size > b.bytes.size() || from + size < from) throw std::runtime_error("an access out of bounds, or to freed memory");
	if (b.context != running) throw std::runtime_error("an access to memory of another context");
	if (!copy && address % size != 0) throw std::runtime_error("a misaligned access");
	if (write) {
		memset(&b.written[from], 1, size);
	} else if (!std::all_of(b.written.begin() + from, b.written.begin() + from + size, [](uint8_t w) { return w; })) {
		throw std::runtime_error("a read of bytes that nobody wrote");
	}
	return &b.bytes[from];
}

// One PTX instruction.
struct Operand {
	enum Kind { REGISTER, SPECIAL, NUMBER, ADDRESS, PARAMETER, LABEL } kind;
	int index = 0;       // of the register, special register or parameter, or where the label points
	int64_t offset = 0;  // of an address
	uint64_t bits = 0;   // of a number
	int width = 0;       // of a register or floating-point number, in bits; 0 for others
	std::string text;
};
enum Code {
	MOV, LD_PARAM, LD, ST, ATOM_ADD, ATOM_MIN, CVTA, TO_F32, WIDEN, FROM_UNSIGNED, FROM_SIGNED, COPY, SIGN_EXTEND, SETP, SELP, ABS, NOT, NEG,
	PACK, SHL, SHR, FMUL, FADD, FSUB, WIDE, ADD, SUB, MUL, MAX, MIN, DIV, REM, AND, OR, XOR, BRA, RET
};
enum How { EQ, NE, LT, LE, GT, GE, EQU, NEU, LTU, LEU, GTU, GEU, NAN_, NUM };
struct Instruction {
	std::string op;
	Code code = RET;
	char kind = 0;              // of its type: u, s, f, b
	int width = 0, narrow = 0;  // of its type, in bits; of what a cvt converts
	size_t lanes = 1;           // of a vector
	How how = EQ;
	int guard = -1;
	bool negated = false;
	std::vector<Operand> operands;
	int line = 0;
	bool covered = false, reported = false;
};
struct Function {
	std::string name;
	int parameters = 0, registers = 0;
	std::vector<Instruction> code;
	struct Module *module = nullptr;
};
struct Module {
	std::map<std::string, std::unique_ptr<Function>> functions;
	int total = 0;
};

static std::string trim(const std::string &s) {
	size_t a = s.find_first_not_of(" \t\r"), b = s.find_last_not_of(" \t\r");
	return a == std::string::npos ? "" : s.substr(a, b - a + 1);
}

static std::vector<std::string> split(const std::string &s, char by) {
	std::vector<std::string> out;
	std::stringstream in(s);
	for (std::string part; std::getline(in, part, by);) out.push_back(trim(part));
	return out;
}

static int size_of(const std::string &type) { return type == "pred" ? 1 : atoi(type.c_str() + 1); }

struct Parser {
	Module *module;
	Function *f = nullptr;
	std::map<std::string, int> registers, widths, labels, parameters;
	int line = 0;

	[[noreturn]] void fail(const std::string &why) { throw std::runtime_error("PTX line " + std::to_string(line) + ": " + why); }

	Operand operand(const std::string &s) {
		static const std::map<std::string, int> special = {{"%tid.x", 0}, {"%ntid.x", 1}, {"%ctaid.x", 2}, {"%nctaid.x", 3}};
		Operand o;
		o.text = s;
		if (s.empty()) fail("an operand is missing");
		if (s[0] == '[') {
			std::string inner = s.substr(1, s.size() - 2);
			size_t plus = inner.find('+');
			if (plus != std::string::npos) o.offset = atoll(inner.c_str() + plus + 1), inner = inner.substr(0, plus);
			if (parameters.count(inner)) {
				o.kind = Operand::PARAMETER, o.index = parameters[inner];
			} else {
				o.kind = Operand::ADDRESS, o.index = name(inner);
				if (width(inner) != 64) fail("an address of less than 64 bits");
			}
		} else if (special.count(s)) {
			o.kind = Operand::SPECIAL, o.index = special.at(s), o.width = 32;
		} else if (s[0] == '%') {
			o.kind = Operand::REGISTER, o.index = name(s), o.width = width(s);
		} else if (s[0] == '$') {
			o.kind = Operand::LABEL;
		} else if (s.compare(0, 2, "0d") == 0 || s.compare(0, 2, "0f") == 0) {
			o.kind = Operand::NUMBER, o.bits = strtoull(s.c_str() + 2, nullptr, 16), o.width = s[1] == 'd' ? 64 : 32;
		} else {
			o.kind = Operand::NUMBER;
			o.bits = s[0] == '-' ? (uint64_t)strtoll(s.c_str(), nullptr, 0) : strtoull(s.c_str(), nullptr, 0);
		}
		return o;
	}
	// name is a register's index; %rd7 belongs to the declaration of %rd.
	int name(const std::string &s) {
		width(s);
		auto at = registers.emplace(s, (int)registers.size());
		return at.first->second;
	}
	int width(const std::string &s) {
		auto at = widths.find(s.substr(0, s.find_last_not_of("0123456789") + 1));
		if (at == widths.end()) fail("register " + s + " is not declared");
		return at->second;
	}

	void parse(const std::string &text) {
		std::stringstream in(text);
		std::string statement;
		bool header = false;
		for (std::string raw; std::getline(in, raw);) {
			line++;
			std::string s = trim(raw.substr(0, raw.find("//")));
			if (s.empty() || s == "{" || s == "(") continue;
			if (s.compare(0, 14, ".visible .entry") == 0 || s.find(".entry") != std::string::npos) {
				std::string n = trim(s.substr(s.find(".entry") + 6));
				n = n.substr(0, n.find('('));
				module->functions[n] = std::make_unique<Function>();
				f = module->functions[n].get(), f->name = n, f->module = module, header = true;
				registers.clear(), widths.clear(), labels.clear(), parameters.clear();
			} else if (header && s[0] == ')') {
				header = false;
			} else if (s.compare(0, 6, ".param") == 0) {
				std::string n = s.substr(s.find_last_of(" ") + 1);
				if (n.back() == ',') n.pop_back();
				if (s.find(".u64") == std::string::npos) fail("a parameter that is no .u64");
				parameters[n] = f->parameters++;
			} else if (s.compare(0, 4, ".reg") == 0) {
				std::stringstream d(s);
				std::string reg, type, n;
				d >> reg >> type >> n;
				n = n.substr(0, n.find('<'));
				widths[n] = type == ".pred" ? 1 : atoi(type.c_str() + 2);
			} else if (s == "}") {
				finish();
			} else if (s[0] == '.') {
				continue; // .version, .target, .pragma
			} else if (s.back() == ':') {
				labels[s.substr(0, s.size() - 1)] = (int)f->code.size();
			} else {
				instruction(s);
			}
		}
	}
	void instruction(std::string s) {
		if (f == nullptr || s.back() != ';') fail("not understood: " + s);
		s.pop_back();
		Instruction i;
		i.line = line;
		if (s[0] == '@') {
			size_t end = s.find_first_of(" \t");
			i.negated = s[1] == '!';
			i.guard = name(s.substr(i.negated ? 2 : 1, end - (i.negated ? 2 : 1)));
			s = trim(s.substr(end));
		}
		size_t end = s.find_first_of(" \t");
		i.op = s.substr(0, end);
		if (end != std::string::npos) {
			bool vector = false;
			for (std::string o : split(s.substr(end), ',')) { // {%r1, %r2} is a vector: its registers one by one
				if (o[0] == '{') vector = true, o = trim(o.substr(1));
				bool last = !o.empty() && o.back() == '}';
				if (vector) i.lanes += !last;
				if (last) vector = false, o = trim(o.substr(0, o.size() - 1));
				i.operands.push_back(operand(o));
			}
		}
		understand(i, split(i.op, '.'));
		f->code.push_back(i);
		module->total++;
	}
	// understand turns an instruction's name into what step switches by.
	void understand(Instruction &i, const std::vector<std::string> &parts) {
		static const std::map<std::string, Code> plain = {
			{"mov", MOV}, {"cvta.to.global", CVTA}, {"selp", SELP}, {"not", NOT}, {"shl", SHL}, {"shr", SHR}, {"add", ADD}, {"sub", SUB}, {"mul.lo", MUL}, {"max", MAX}, {"min", MIN},
			{"mul.wide", WIDE}, {"div", DIV}, {"rem", REM}, {"and", AND}, {"or", OR}, {"xor", XOR}, {"ld.param", LD_PARAM}, {"ld.global", LD}, {"ld", LD},
			{"st.global", ST}, {"st", ST}, {"atom.global.add", ATOM_ADD}, {"atom.global.min", ATOM_MIN}, {"mul.rn", FMUL}, {"add.rn", FADD}, {"sub.rn", FSUB}, {"abs", ABS}, {"neg", NEG}};
		static const std::map<std::string, How> hows = {
			{"eq", EQ}, {"ne", NE}, {"lt", LT}, {"le", LE}, {"gt", GT}, {"ge", GE}, {"equ", EQU}, {"neu", NEU}, {"ltu", LTU}, {"leu", LEU}, {"gtu", GTU}, {"geu", GEU}, {"nan", NAN_}, {"num", NUM}};
		static const std::map<Code, size_t> counts = {{ST, 2}, {SELP, 4}, {MOV, 2}, {PACK, 2}, {CVTA, 2}, {NOT, 2}, {ABS, 2}, {NEG, 2}, {LD, 2}, {LD_PARAM, 2}};
		if (parts[0] == "ret") return;
		if (parts[0] == "bra") {
			i.code = BRA;
			if (i.operands.size() != 1 || i.operands[0].kind != Operand::LABEL) fail(i.op + " without a label");
			return;
		}
		const std::string &type = parts.back();
		i.kind = type[0], i.width = size_of(type);
		size_t want = 3;
		if (parts[0] == "setp" && parts.size() == 3 && hows.count(parts[1])) {
			i.code = SETP, i.how = hows.at(parts[1]);
			if (i.how > GE && i.kind != 'f') fail(i.op);
		} else if (parts[0] == "cvt" && (parts.size() == 3 || (parts.size() == 4 && parts[1] == "rn"))) {
			const std::string &to = parts[parts.size() - 2];
			bool rounds = parts.size() == 4;
			i.narrow = i.width, i.width = size_of(to), want = 2;
			if (to == "f32" && type == "f64" && rounds) i.code = TO_F32;
			else if (to == "f64" && type == "f32" && !rounds) i.code = WIDEN;
			else if (to == "f64" && type[0] == 'u' && rounds) i.code = FROM_UNSIGNED;
			else if (to == "f64" && type[0] == 's' && rounds) i.code = FROM_SIGNED;
			else if (to[0] != 'f' && type[0] == 'u' && !rounds) i.code = COPY;
			else if (to[0] != 'f' && type[0] == 's' && !rounds) i.code = SIGN_EXTEND;
			else fail("unknown: " + i.op);
		} else {
			std::string head = i.op.substr(0, i.op.rfind('.'));
			bool moves = parts[0] == "ld" || parts[0] == "st";
			const std::string &vector = parts[parts.size() - 2];
			if (moves && (vector == "v2" || vector == "v4")) {
				if (i.lanes != (size_t)(vector[1] - '0')) fail(i.op + " of " + std::to_string(i.lanes) + " registers");
				head = head.substr(0, head.rfind('.'));
			} else if (i.lanes != 1 && moves) {
				fail(i.op + " of a vector");
			}
			if (!plain.count(head)) fail("unknown: " + i.op);
			i.code = plain.at(head);
			if (i.lanes != 1 && i.code == MOV) {
				i.code = PACK, i.narrow = i.width / (int)i.lanes;
			} else if (i.lanes != 1 && i.code != LD && i.code != ST) {
				fail(i.op + " of a vector");
			}
			if (counts.count(i.code)) want = counts.at(i.code);
			bool floating = i.code == FMUL || i.code == FADD || i.code == FSUB || i.code == ABS, any = i.code <= ST || i.code == SELP || i.code == PACK;
			if (!any && floating != (i.kind == 'f')) fail("unknown: " + i.op);
			if ((i.code == DIV || i.code == REM || i.code == MIN || i.code == ATOM_MIN) && i.kind != 'u') fail("unknown: " + i.op);
			if (i.code == MAX && i.kind != 's') fail("unknown: " + i.op);
		}
		want += i.lanes - 1;
		if (i.operands.size() != want) fail(i.op + " has " + std::to_string(i.operands.size()) + " operands");
		bool atomic = i.code == ATOM_ADD || i.code == ATOM_MIN;
		if (atomic && i.operands[1].kind != Operand::ADDRESS) fail(i.op + " without an address");
		if (i.code == LD && i.operands.back().kind != Operand::ADDRESS) fail(i.op + " without an address");
		if (i.code == ST && i.operands[0].kind != Operand::ADDRESS) fail(i.op + " without an address");
		if (i.code == LD_PARAM && i.operands[1].kind != Operand::PARAMETER) fail(i.op + " without a parameter");
	}
	void finish() {
		for (Instruction &i : f->code) {
			for (Operand &o : i.operands) {
				if (o.kind == Operand::LABEL) {
					if (!labels.count(o.text)) fail("no label " + o.text);
					o.index = labels[o.text];
				}
			}
		}
		f->registers = (int)registers.size();
	}
};

static double f64(uint64_t b) { double x; memcpy(&x, &b, 8); return x; }
static float f32(uint64_t b) { uint32_t n = (uint32_t)b; float x; memcpy(&x, &n, 4); return x; }
static uint64_t bits(double x) { uint64_t b; memcpy(&b, &x, 8); return b; }
static uint64_t bits(float x) { uint32_t b; memcpy(&b, &x, 4); return b; }
static uint64_t mask(int width) { return width >= 64 ? ~0ULL : (1ULL << width) - 1; }
static int64_t extend(uint64_t x, int width) { return width >= 64 ? (int64_t)x : (int64_t)(x << (64 - width)) >> (64 - width); }

// Thread runs one thread of a launch to its end: the kernels have no barriers, only atomics.
struct Thread {
	Function &f;
	const std::vector<uint64_t> &parameters;
	uint32_t special[4];
	std::vector<uint64_t> &r; // cleared

	uint64_t get(const Instruction &i, size_t k, int width) {
		const Operand &o = i.operands[k];
		if (o.width && o.width != width) throw std::runtime_error(o.text + " has " + std::to_string(o.width) + " bits, " + i.op + " takes " + std::to_string(width));
		switch (o.kind) {
		case Operand::REGISTER: return r[o.index] & mask(width);
		case Operand::SPECIAL: return special[o.index];
		case Operand::NUMBER: return o.bits & mask(width);
		default: throw std::runtime_error("operand " + o.text + " of " + i.op);
		}
	}
	void set(const Instruction &i, uint64_t x, int width, size_t k = 0) {
		const Operand &o = i.operands[k];
		if (o.kind != Operand::REGISTER || o.width != width) throw std::runtime_error(i.op + " writes " + std::to_string(width) + " bits into " + o.text);
		r[o.index] = x & mask(width);
	}
	uint64_t address(const Instruction &i, size_t k) { return r[i.operands[k].index] + (uint64_t)i.operands[k].offset; }

	void run() {
		int left = 1 << 23; // a thread does a few elements, or a chunk's share of a sum
		for (size_t pc = 0; pc < f.code.size();) {
			if (--left == 0) throw std::runtime_error("a thread that runs for ever");
			Instruction &i = f.code[pc++];
			i.covered = true;
			if (i.guard >= 0 && (bool)(r[i.guard] & 1) == i.negated) continue;
			if (i.code == RET) return;
			if (i.code == BRA) {
				pc = i.operands[0].index;
				continue;
			}
			try {
				step(i);
			} catch (const std::runtime_error &e) {
				throw std::runtime_error("PTX line " + std::to_string(i.line) + ": " + e.what());
			}
		}
	}

	template <typename T> static bool order(How how, T a, T b) {
		switch (how) {
		case EQ: return a == b;
		case NE: return a != b;
		case LT: return a < b;
		case LE: return a <= b;
		case GT: return a > b;
		default: return a >= b;
		}
	}
	static bool compare(How how, double a, double b) {
		bool nan = std::isnan(a) || std::isnan(b);
		if (how == NAN_ || how == NUM) return nan == (how == NAN_);
		if (how >= EQU) return nan || order((How)(how - EQU), a, b);
		return !nan && order(how, a, b);
	}

	void step(const Instruction &i) {
		int width = i.width;
		switch (i.code) {
		case LD_PARAM: return set(i, parameters[i.operands[1].index], width);
		case LD: {
			uint8_t *p = reach(address(i, i.lanes), i.lanes * width / 8, false, false);
			for (size_t k = 0; k < i.lanes; k++) {
				uint64_t x = 0;
				memcpy(&x, p + k * width / 8, width / 8);
				set(i, x, width, k);
			}
			return;
		}
		case ST: {
			uint8_t *p = reach(address(i, 0), i.lanes * width / 8, true, false);
			for (size_t k = 0; k < i.lanes; k++) {
				uint64_t x = get(i, 1 + k, width);
				memcpy(p + k * width / 8, &x, width / 8);
			}
			return;
		}
		case ATOM_ADD:
		case ATOM_MIN: {
			uint8_t *p = reach(address(i, 1), width / 8, false, false);
			uint64_t old = 0, x = get(i, 2, width);
			memcpy(&old, p, width / 8);
			uint64_t now = i.code == ATOM_ADD ? old + x : std::min(old, x);
			memcpy(p, &now, width / 8);
			return set(i, old, width);
		}
		case TO_F32: return set(i, bits((float)f64(get(i, 1, 64))), 32);
		case WIDEN: return set(i, bits((double)f32(get(i, 1, 32))), 64);
		case FROM_UNSIGNED: return set(i, bits((double)get(i, 1, i.narrow)), 64);
		case FROM_SIGNED: return set(i, bits((double)extend(get(i, 1, i.narrow), i.narrow)), 64);
		case COPY: return set(i, get(i, 1, i.narrow), width);
		case SIGN_EXTEND: return set(i, (uint64_t)extend(get(i, 1, i.narrow), i.narrow), width);
		case SELP: return set(i, get(i, 3, 1) ? get(i, 1, width) : get(i, 2, width), width);
		case MOV:
		case CVTA: return set(i, get(i, 1, width), width);
		case PACK: {
			uint64_t x = 0;
			for (size_t k = 0; k < i.lanes; k++) x |= get(i, 1 + k, i.narrow) << (k * i.narrow);
			return set(i, x, width);
		}
		case ABS: return set(i, get(i, 1, width) & ~(1ULL << (width - 1)), width);
		case NOT: return set(i, ~get(i, 1, width), width);
		case NEG: return set(i, 0 - get(i, 1, width), width);
		case SHL: {
			uint64_t by = get(i, 2, 32);
			return set(i, by >= (uint64_t)width ? 0 : get(i, 1, width) << by, width);
		}
		case SHR: {
			uint64_t x = get(i, 1, width), by = get(i, 2, 32);
			if (i.kind == 's') return set(i, (uint64_t)(extend(x, width) >> std::min<uint64_t>(by, width - 1)), width);
			return set(i, by >= (uint64_t)width ? 0 : x >> by, width);
		}
		default: break;
		}
		uint64_t a = get(i, 1, width), b = get(i, 2, width);
		switch (i.code) {
		case SETP:
			return set(i, i.kind == 'f' ? (width == 64 ? compare(i.how, f64(a), f64(b)) : compare(i.how, f32(a), f32(b)))
			            : i.kind == 's' ? order(i.how, extend(a, width), extend(b, width)) : order(i.how, a, b), 1);
		case FMUL: return set(i, width == 64 ? bits(f64(a) * f64(b)) : bits(f32(a) * f32(b)), width);
		case FADD:
		case FSUB: {
			if (width != 64) throw std::runtime_error(i.op + " of " + std::to_string(width) + " bits");
			return set(i, bits(i.code == FADD ? f64(a) + f64(b) : f64(a) - f64(b)), width);
		}
		case WIDE: return set(i, i.kind == 's' ? (uint64_t)(extend(a, width) * extend(b, width)) : a * b, 2 * width);
		case ADD: return set(i, a + b, width);
		case SUB: return set(i, a - b, width);
		case MUL: return set(i, a * b, width);
		case MAX: return set(i, (uint64_t)std::max(extend(a, width), extend(b, width)), width);
		case MIN: return set(i, std::min(a, b), width);
		case AND: return set(i, a & b, width);
		case OR: return set(i, a | b, width);
		case XOR: return set(i, a ^ b, width);
		default:
			if (b == 0) throw std::runtime_error(i.op + " by zero");
			return set(i, i.code == DIV ? a / b : a % b, width);
		}
	}
};
