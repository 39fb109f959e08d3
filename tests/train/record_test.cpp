#include <respeft/train/record.h>

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

namespace respeft::train {
namespace {

EpochRecord make_record() {
  EpochRecord record;
  record.epoch = 3;
  record.lr = 1e-3;
  record.train = {{{"loss", 0.1}, {"accuracy", 1.0}}};
  record.seconds = 2.5;
  record.data_wait_seconds = 0.25;
  record.evaluation = Evaluation{"test", "images", 64, {{{"loss", 1.0 / 3}, {"accuracy", 0.0}}}, 1.5};
  return record;
}

// The line that version 0.1.0 wrote.
TEST(EpochRecord, HasTheKeysOfEarlierVersions) {
  EXPECT_EQ(
      to_json(make_record()),
      R"({"epoch":3,"lr":0.001,"train_loss":0.1,"train_accuracy":1.0,"seconds":2.5,"data_wait_seconds":0.25,"split":"test",)"
      R"("test_images":64,"test_loss":0.3333333333333333,"test_accuracy":0.0,"eval_seconds":1.5})");
}

TEST(EpochRecord, ComesBackEqual) {
  EpochRecord record = make_record();
  EXPECT_EQ(epoch_record_from_json(to_json(record)), record);
  record.step = 7;
  record.evaluation->unit = "questions";
  record.evaluation->metrics = {{{"loss", 2.0}, {"f1", 0.5}, {"exact_match", 1.0}}};
  EXPECT_EQ(epoch_record_from_json(to_json(record)), record);
  record.evaluation.reset();
  EXPECT_EQ(epoch_record_from_json(to_json(record)), record);
}

TEST(EpochRecord, RefusesWhatItIsNot) {
  for (const char* text : {"", "[]", "{}", R"({"epoch": "x"})", R"({"epoch":1,"lr":0.1,"train_loss":1.0)"}) {
    EXPECT_THROW(epoch_record_from_json(text), std::runtime_error) << text;
  }
  EpochRecord record = make_record();
  auto json = nlohmann::json::parse(to_json(record));
  json.erase("test_images");
  EXPECT_THROW(epoch_record_from_json(json.dump()), std::runtime_error);
}

TEST(EpochRecord, TextThatIsNotUtf8IsWrittenAllTheSame) {
  EpochRecord record = make_record();
  record.evaluation->unit = "caf\xe9";
  EXPECT_NE(to_json(record).find("test_caf\xEF\xBF\xBD"), std::string::npos);  // U+FFFD
}

TEST(RunProgress, ComesBackEqual) {
  RunProgress progress;
  progress.epochs = 3;
  progress.steps = 12;
  progress.seconds = 9.5;
  progress.train_seconds = 7.0;
  progress.eval_seconds = 1.0;
  progress.data_wait_seconds = 0.5;
  EXPECT_EQ(run_progress_from_json(to_json(progress)), progress);
  EXPECT_EQ(to_json(progress).find("epoch_"), std::string::npos) << "an epoch's end has the keys of earlier versions";
  progress.last = progress.best = make_record();
  progress.pending = make_record();
  progress.epoch_steps = 2;
  progress.epoch_seconds = 0.75;
  progress.epoch_wait_seconds = 0.125;
  EXPECT_EQ(run_progress_from_json(to_json(progress)), progress);
}

TEST(RunProgress, KnowsWhichRecordsAreItsOwn) {
  RunProgress progress;
  progress.epochs = 2;
  progress.steps = 10;
  const auto at = [](int64_t epoch, int64_t step) {
    EpochRecord record;
    record.epoch = epoch, record.step = step;
    return record;
  };
  EXPECT_TRUE(progress.contains(at(2, 0)));
  EXPECT_FALSE(progress.contains(at(3, 0)));
  EXPECT_TRUE(progress.contains(at(3, 10)));
  EXPECT_FALSE(progress.contains(at(3, 11)));
  progress.pending = at(2, 0);
  EXPECT_FALSE(progress.contains(at(2, 0)));
  EXPECT_TRUE(progress.contains(at(1, 0)));
}

}  // namespace
}  // namespace respeft::train
