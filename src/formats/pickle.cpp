#include "src/formats/pickle.h"

#include <fmt/format.h>

#include <bit>
#include <map>
#include <stdexcept>

#include "src/formats/bytes.h"

namespace respeft::formats {
namespace {

using Kind = PickleValue::Kind;

[[noreturn]] void fail_pickle(const std::string& fault) {
  throw std::runtime_error(fault);
}

/// How an object that a pickle refers to is read.
enum class Global { dict, sequence, tensor, parameter, storage, other, object };

struct KnownGlobal {
  std::string_view module, name;
  Global global;
  at::ScalarType dtype = at::kFloat;  ///< of a storage
};

constexpr KnownGlobal kGlobals[] = {
    {"collections", "OrderedDict", Global::dict},
    {"argparse", "Namespace", Global::object},  // a record of plain values: a training program's flags
    {"__builtin__", "set", Global::sequence},
    {"builtins", "set", Global::sequence},
    {"torch", "Size", Global::sequence},
    {"torch._utils", "_rebuild_tensor_v2", Global::tensor},
    {"torch._utils", "_rebuild_parameter", Global::parameter},
    {"torch._utils", "_rebuild_parameter_with_state", Global::parameter},
    {"torch", "DoubleStorage", Global::storage, at::kDouble},
    {"torch", "FloatStorage", Global::storage, at::kFloat},
    {"torch", "HalfStorage", Global::storage, at::kHalf},
    {"torch", "BFloat16Storage", Global::storage, at::kBFloat16},
    {"torch", "LongStorage", Global::storage, at::kLong},
    {"torch", "IntStorage", Global::storage, at::kInt},
    {"torch", "ShortStorage", Global::storage, at::kShort},
    {"torch", "CharStorage", Global::storage, at::kChar},
    {"torch", "ByteStorage", Global::storage, at::kByte},
    {"torch", "BoolStorage", Global::storage, at::kBool},
    {"torch", "device", Global::other},
    {"torch", "float32", Global::other},
    {"torch", "float64", Global::other},
    {"torch", "float16", Global::other},
    {"torch", "bfloat16", Global::other},
    {"torch", "int64", Global::other},
};

/// The supported pickle opcodes, by pickletools' names.
enum Instruction : uint8_t {
  kMark = '(',
  kStop = '.',
  kPop = '0',
  kPopMark = '1',
  kDup = '2',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kNone = 'N',
  kBinPersonalId = 'Q',
  kReduce = 'R',
  kBinString = 'T',
  kShortBinString = 'U',
  kBinUnicode = 'X',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kAppends = 'e',
  kGet = 'h',
  kLongGet = 'j',
  kList = 'l',
  kEmptyList = ']',
  kPut = 'q',
  kLongPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kEmptyTuple = ')',
  kSetItems = 'u',
  kBinFloat = 'G',
  kEmptyDict = '}',
  kDict = 'd',
  kBinBytes = 'B',
  kShortBinBytes = 'C',
  kProtocol = 0x80,
  kNewObject = 0x81,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kTrue = 0x88,
  kFalse = 0x89,
  kLong1 = 0x8a,
  kLong4 = 0x8b,
  kShortBinUnicode = 0x8c,
  kBinUnicode8 = 0x8d,
  kBinBytes8 = 0x8e,
  kEmptySet = 0x8f,
  kAddItems = 0x90,
  kFrozenSet = 0x91,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
};

/// Interprets a pickle's opcodes on a stack of values.
class Unpickler {
 public:
  Unpickler(std::string_view bytes, std::deque<PickleValue>& values) : bytes_(bytes), values_(values) {}

  const PickleValue* run() {
    if (next<uint8_t>() != kProtocol) fail_pickle("it is no pickle of protocol 2 or later");
    const int protocol = next<uint8_t>();
    if (protocol < 2 || protocol > 5) fail_pickle(fmt::format("pickles of protocol {} are not read", protocol));
    for (;;) {
      const auto instruction = next<uint8_t>();
      if (instruction == kStop) return pop();
      if (!put_number(instruction) && !put_text(instruction) && !put_container(instruction) && !fill_container(instruction) &&
          !use_memo(instruction) && !make_object(instruction)) {
        fail_pickle(fmt::format("instruction 0x{:02x} at byte {} is not one that a pickle of tensors and plain containers has",
                                instruction, at_ - 1));
      }
    }
  }

  bool has_objects() const { return has_objects_; }

 private:
  // ---- bytes

  std::string_view take(uint64_t size) {
    if (!fits(at_, size, bytes_.size()))
      fail_pickle(fmt::format("it is cut off: {} bytes are missing at its end", size - (bytes_.size() - at_)));
    at_ += size;
    return bytes_.substr(at_ - size, size);
  }
  template <class Number>
  Number next() {
    return number_at<Number>(take(sizeof(Number)), 0);
  }
  std::string_view line() {
    const size_t end = bytes_.find('\n', at_);
    if (end == std::string_view::npos) fail_pickle("it is cut off within a name");
    const auto text = take(end - at_);
    ++at_;
    return text;
  }

  // ---- stack

  PickleValue* push(PickleValue value) {
    values_.push_back(std::move(value));
    stack_.push_back(&values_.back());
    return stack_.back();
  }
  PickleValue* push(Kind kind, int64_t number = 0, std::string_view text = {}) {
    PickleValue value;
    value.kind = kind, value.number = number, value.text = text;
    return push(std::move(value));
  }
  /// Values below a mark cannot be popped while it is there.
  PickleValue* top() {
    if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) fail_pickle("it takes more values than it has made");
    return stack_.back();
  }
  PickleValue* pop() {
    PickleValue* value = top();
    stack_.pop_back();
    return value;
  }
  std::vector<PickleValue*> pop_count(size_t count) {
    if (count > stack_.size() - (marks_.empty() ? 0 : marks_.back())) fail_pickle("it takes more values than it has made");
    std::vector<PickleValue*> items(stack_.end() - static_cast<std::ptrdiff_t>(count), stack_.end());
    stack_.resize(stack_.size() - count);
    return items;
  }
  std::vector<PickleValue*> pop_to_mark() {
    if (marks_.empty()) fail_pickle("it goes back to a mark that it has not made");
    auto items = pop_count(stack_.size() - marks_.back());
    marks_.pop_back();
    return items;
  }

  // ---- groups of opcodes; return false if the opcode is in another group

  bool put_number(uint8_t instruction) {
    switch (instruction) {
      case kNone:
        return push(Kind::none);
      case kTrue:
      case kFalse:
        return push(Kind::boolean, instruction == kTrue);
      case kBinInt:
        return push(Kind::number, next<int32_t>());
      case kBinInt1:
        return push(Kind::number, next<uint8_t>());
      case kBinInt2:
        return push(Kind::number, next<uint16_t>());
      case kBinFloat:
        take(sizeof(double));  // ignored: no tensor needs it
        return push(Kind::other);
      case kLong1:
        return put_long(take(next<uint8_t>()));
      case kLong4:
        return put_long(take(next<uint32_t>()));
      default:
        return false;
    }
  }

  bool put_long(std::string_view digits) {
    if (digits.size() > sizeof(int64_t)) return push(Kind::other);
    uint64_t number = !digits.empty() && (digits.back() & 0x80) != 0 ? ~uint64_t{0} : 0;
    for (size_t i = digits.size(); i-- > 0;) number = number << 8 | static_cast<uint8_t>(digits[i]);
    return push(Kind::number, static_cast<int64_t>(number));
  }

  bool put_text(uint8_t instruction) {
    switch (instruction) {
      case kShortBinUnicode:
      case kShortBinString:
      case kShortBinBytes:
        return push(Kind::text, 0, take(next<uint8_t>()));
      case kBinUnicode:
      case kBinString:
      case kBinBytes:
        return push(Kind::text, 0, take(next<uint32_t>()));
      case kBinUnicode8:
      case kBinBytes8:
        return push(Kind::text, 0, take(next<uint64_t>()));
      default:
        return false;
    }
  }

  bool put_container(uint8_t instruction) {
    switch (instruction) {
      case kEmptyList:
      case kEmptyTuple:
      case kEmptySet:
        return push(Kind::sequence);
      case kEmptyDict:
        return push(Kind::dict);
      case kTuple1:
      case kTuple2:
      case kTuple3:
        return put_sequence(pop_count(instruction - kTuple1 + 1u));
      case kTuple:
      case kList:
      case kFrozenSet:
        return put_sequence(pop_to_mark());
      case kDict: {
        const auto items = pop_to_mark();
        put_items(*push(Kind::dict), items);
        return true;
      }
      default:
        return false;
    }
  }

  bool put_sequence(std::vector<PickleValue*> items) {
    push(Kind::sequence)->items = std::move(items);
    return true;
  }

  bool fill_container(uint8_t instruction) {
    switch (instruction) {
      case kMark:
        marks_.push_back(stack_.size());
        return true;
      case kAppend:
        append(pop_count(1));
        return true;
      case kAppends:
      case kAddItems:
        append(pop_to_mark());
        return true;
      case kSetItem: {
        const auto items = pop_count(2);
        put_items(*top(), items);
        return true;
      }
      case kSetItems: {
        const auto items = pop_to_mark();
        put_items(*top(), items);
        return true;
      }
      case kPop:
        pop();
        return true;
      case kPopMark:
        pop_to_mark();
        return true;
      default:
        return false;
    }
  }

  void append(const std::vector<PickleValue*>& items) {
    PickleValue& target = *top();
    if (!target.is(Kind::sequence)) fail_pickle(fmt::format("it adds to {} as if it were a list", target.description()));
    target.items.insert(target.items.end(), items.begin(), items.end());
  }

  void put_items(PickleValue& target, const std::vector<PickleValue*>& items) {
    if (!target.is(Kind::dict)) fail_pickle(fmt::format("it adds to {} as if it were a dictionary", target.description()));
    if (items.size() % 2 != 0) fail_pickle("a dictionary has a key without a value");
    for (size_t i = 1; i < items.size(); i += 2) target.holds_tensors = target.holds_tensors || items[i]->is(Kind::tensor);
    target.items.insert(target.items.end(), items.begin(), items.end());
  }

  bool use_memo(uint8_t instruction) {
    switch (instruction) {
      case kPut:
        memo_[next<uint8_t>()] = top();
        return true;
      case kLongPut:
        memo_[next<uint32_t>()] = top();
        return true;
      case kMemoize:
        memo_[static_cast<uint32_t>(memo_.size())] = top();
        return true;
      case kGet:
        return get(next<uint8_t>());
      case kLongGet:
        return get(next<uint32_t>());
      case kDup:
        stack_.push_back(top());
        return true;
      case kFrame:
        next<uint64_t>();
        return true;
      case kProtocol:
        next<uint8_t>();
        return true;
      default:
        return false;
    }
  }

  bool get(uint32_t index) {
    const auto found = memo_.find(index);
    if (found == memo_.end()) fail_pickle(fmt::format("it takes value {} of its memo, which is not there", index));
    stack_.push_back(found->second);
    return true;
  }

  bool make_object(uint8_t instruction) {
    switch (instruction) {
      case kGlobal: {
        const auto module = line();
        return put_global(module, line());
      }
      case kStackGlobal: {
        const auto names = pop_count(2);
        if (!names[0]->is(Kind::text) || !names[1]->is(Kind::text)) fail_pickle("an object's name is no text");
        return put_global(names[0]->text, names[1]->text);
      }
      case kReduce:
      case kNewObject: {
        const PickleValue *arguments = pop(), *global = pop();
        if (!global->is(Kind::global)) fail_pickle(fmt::format("it calls {}", global->description()));
        return call(kGlobals[global->number], *arguments);
      }
      case kBuild:
        pop();
        return build(*top());
      case kBinPersonalId:
        return put_storage(*pop());
      default:
        return false;
    }
  }

  bool put_global(std::string_view module, std::string_view name) {
    for (size_t i = 0; i < std::size(kGlobals); ++i) {
      if (kGlobals[i].module != module || kGlobals[i].name != name) continue;
      has_objects_ = has_objects_ || kGlobals[i].global == Global::object;
      return push(Kind::global, static_cast<int64_t>(i));
    }
    constexpr size_t kShown = 200;
    fail_pickle(fmt::format(
        "it holds a Python object, {}.{}, which is not read: only tensors and plain containers are, and nothing is ever "
        "executed. In Python, torch.save(model.state_dict(), FILE) writes the tensors alone",
        module.substr(0, kShown), name.substr(0, kShown)));
  }

  bool call(const KnownGlobal& known, const PickleValue& arguments) {
    const auto refuse = [&] {
      fail_pickle(fmt::format("{}.{} has arguments that PyTorch does not write", known.module, known.name));
    };
    if (!arguments.is(Kind::sequence)) refuse();
    const auto& items = arguments.items;
    switch (known.global) {
      case Global::dict:
        if (!items.empty()) refuse();
        return push(Kind::dict);
      case Global::sequence:  // reuse the list: copies would let small files take much memory
        if (items.size() != 1 || !items[0]->is(Kind::sequence)) refuse();
        stack_.push_back(items[0]);
        return true;
      case Global::tensor:
        if (items.size() < 4 || !items[0]->is(Kind::storage) || !items[1]->is(Kind::number) || !items[2]->is(Kind::sequence) ||
            !items[3]->is(Kind::sequence)) {
          refuse();
        }
        if (items.size() > 6) check_marks(*items[6]);
        push(Kind::tensor, items[1]->number)->items = {items[0], items[2], items[3]};
        return true;
      case Global::parameter:
        if (items.empty() || !items[0]->is(Kind::tensor)) refuse();
        push(*items[0]);
        return true;
      default:
        return push(Kind::other);
    }
  }

  /// Flags of a tensor whose stored values are its negative or its conjugate.
  static void check_marks(const PickleValue& marks) {
    if (marks.is(Kind::none) || (marks.is(Kind::dict) && marks.items.empty())) return;
    const bool named = marks.is(Kind::dict) && marks.items[0]->is(Kind::text);
    fail_pickle(
        fmt::format("a tensor is marked '{}': it does not hold the numbers that are stored. In Python, save "
                    "tensor.resolve_neg() instead",
                    named ? marks.items[0]->text.substr(0, 200) : "?"));
  }

  /// Ignores attributes: the module versions of a state dict, the fields of a record.
  bool build(const PickleValue& target) {
    if (target.is(Kind::dict) || target.is(Kind::tensor) || target.is(Kind::other)) return true;
    fail_pickle(fmt::format("it gives attributes to {}", target.description()));
  }

  /// `("storage", type, key, device, numbers)`
  bool put_storage(const PickleValue& id) {
    const auto& items = id.items;
    if (!id.is(Kind::sequence) || items.size() != 5 || !items[0]->is(Kind::text) || items[0]->text != "storage" ||
        !items[1]->is(Kind::global) || kGlobals[items[1]->number].global != Global::storage || !items[2]->is(Kind::text) ||
        !items[4]->is(Kind::number)) {
      fail_pickle("it refers to something outside that is no storage of numbers");
    }
    PickleValue* storage = push(Kind::storage, items[4]->number, items[2]->text);
    storage->dtype = kGlobals[items[1]->number].dtype;
    return true;
  }

  std::string_view bytes_;
  size_t at_ = 0;
  std::deque<PickleValue>& values_;
  std::vector<PickleValue*> stack_;
  std::vector<size_t> marks_;
  std::map<uint32_t, PickleValue*> memo_;
  bool has_objects_ = false;
};

}  // namespace

const char* PickleValue::description() const {
  switch (kind) {
    case Kind::none:
      return "None";
    case Kind::boolean:
      return "True or False";
    case Kind::number:
      return "a number";
    case Kind::text:
      return "a text";
    case Kind::sequence:
      return "a list";
    case Kind::dict:
      return "a dictionary";
    case Kind::global:
      return "a type";
    case Kind::storage:
      return "a storage";
    case Kind::tensor:
      return "a tensor";
    case Kind::other:
      break;
  }
  return "something else";
}

Pickle::Pickle(std::string_view bytes) {
  Unpickler unpickler(bytes, values_);
  root_ = unpickler.run();
  has_objects_ = unpickler.has_objects();
}

}  // namespace respeft::formats
