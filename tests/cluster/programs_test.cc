// Real programs on the mount.
#include <gtest/gtest.h>

#include "tests/cluster/cluster.h"

namespace tercet {
namespace {

class ProgramsTest : public SharedClusterTest {
 protected:
  // Runs the script in a fresh folder on the mount; $LOCAL is a fresh folder that is not.
  void Run(const std::string& script, int timeout_seconds = 300) {
    const std::string name = testing::UnitTest::GetInstance()->current_test_info()->name();
    const ShellResult result =
        Shell("set -euo pipefail; export LOCAL=$(mktemp -d); trap 'rm -rf $LOCAL' EXIT; mkdir " +
                  cluster_->mount() + "/" + name + "; cd " + cluster_->mount() + "/" + name + "\n" +
                  script,
              timeout_seconds);
    EXPECT_TRUE(result.ok()) << "status " << result.status << "\n" << result.output;
  }
};

constexpr char kMakeTree[] = R"S(
python3 - "$LOCAL/tree" <<'P'
import os, random, sys
rng = random.Random(7)
for i in range(1500):
    d = f"{sys.argv[1]}/m{i % 13}/p{i % 70}"
    os.makedirs(d, exist_ok=True)
    n = min(int(rng.lognormvariate(8, 1.2)), 300000)
    with open(f"{d}/f{i}.cc", "wb") as f:
        f.write(rng.randbytes(n))
os.symlink("m1", f"{sys.argv[1]}/link")
P
)S";

TEST_F(ProgramsTest, TarRoundTrip) {
  Run(std::string(kMakeTree) + R"S(
tar -C "$LOCAL" -cf "$LOCAL/t.tar" tree
tar -xf "$LOCAL/t.tar"
diff -r --no-dereference "$LOCAL/tree" tree
cp -a tree copy && diff -r tree copy
rm -rf copy && test ! -e copy
)S");
}

TEST_F(ProgramsTest, GitCloneAndFsck) {
  Run(std::string(kMakeTree) + R"S(
cd "$LOCAL/tree" && git init -q && git add -A && git -c user.name=t -c user.email=t@t commit -qm one
cd - >/dev/null
git clone -q "$LOCAL/tree" repo
git -C repo fsck --full --strict
cd repo && echo more >> m1/new && git add -A && git -c user.name=t -c user.email=t@t commit -qm two
git gc -q && git fsck --full && test -z "$(git status --porcelain)"
)S");
}

TEST_F(ProgramsTest, SqliteSurvivesAKillInMidTransaction) {
  Run(R"S(
sqlite3 t.db "create table t(a integer primary key, b text)"
for round in 1 2 3; do
  (for i in $(seq 1 100000); do echo "begin; insert into t(b) values(hex(randomblob(500))); insert into t(b) values('x'); commit;"; done | sqlite3 t.db) &
  pid=$!
  sleep 1.$round
  pkill -9 -f "sqlite3 t.db" || true
  wait $pid 2>/dev/null || true
  test "$(sqlite3 t.db 'pragma integrity_check')" = ok
  # Both inserts of a transaction or none.
  test $(($(sqlite3 t.db 'select count(*) from t') % 2)) = 0
done
test "$(sqlite3 t.db 'select count(*) from t')" -gt 0
)S");
}

TEST_F(ProgramsTest, CompileAndRun) {
  Run(R"S(
cat > hello.cc <<'C'
#include <iostream>
#include <map>
int main() { std::map<int, const char*> m{{1, "tercet"}}; std::cout << m[1] << "\n"; }
C
cat > CMakeLists.txt <<'C'
cmake_minimum_required(VERSION 3.20)
project(hello CXX)
add_executable(hello hello.cc)
C
cmake -B build -S . >/dev/null && cmake --build build >/dev/null
test "$(build/hello)" = tercet
)S");
}

TEST_F(ProgramsTest, FioVerifiesRandomWritesOfEightJobs) {
  Run(R"S(
fio --name=v --directory=. --rw=randrw --bs=4k-64k --size=16M --numjobs=8 --verify=crc32c \
    --verify_fatal=1 --group_reporting --end_fsync=1 --output-format=terse >out
)S");
}

}  // namespace
}  // namespace tercet
