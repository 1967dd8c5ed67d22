// What programs expect of a local directory, asked of a real mount.
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <filesystem>
#include <set>

#include "tests/cluster/cluster.h"

namespace tercet {
namespace {

class PosixTest : public SharedClusterTest {
 protected:
  void SetUp() override {
    root_ = cluster_->mount() + "/" + testing::UnitTest::GetInstance()->current_test_info()->name();
    ASSERT_EQ(mkdir(root_.c_str(), 0755), 0) << strerror(errno);
  }
  std::string Path(const std::string& name) const { return root_ + "/" + name; }
  struct stat Stat(const std::string& name) const {
    struct stat result = {};
    EXPECT_EQ(lstat(Path(name).c_str(), &result), 0) << name << ": " << strerror(errno);
    return result;
  }

  std::string root_;
};

TEST_F(PosixTest, CreateIsExclusiveWhenAsked) {
  const int first = open(Path("f").c_str(), O_CREAT | O_EXCL | O_RDWR, 0640);
  ASSERT_GE(first, 0) << strerror(errno);
  EXPECT_EQ(open(Path("f").c_str(), O_CREAT | O_EXCL | O_RDWR, 0640), -1);
  EXPECT_EQ(errno, EEXIST);
  close(first);
  const struct stat s = Stat("f");
  EXPECT_EQ(s.st_mode & 07777, 0640u);
  EXPECT_EQ(s.st_nlink, 1u);
  EXPECT_EQ(s.st_size, 0);
}

TEST_F(PosixTest, TimesKeepTheirNanoseconds) {
  WriteFile(Path("f"), "x");
  const timespec times[2] = {{1234567890, 123456789}, {987654321, 987654321}};
  ASSERT_EQ(utimensat(AT_FDCWD, Path("f").c_str(), times, 0), 0);
  const struct stat s = Stat("f");
  EXPECT_EQ(s.st_atim.tv_sec, 1234567890);
  EXPECT_EQ(s.st_atim.tv_nsec, 123456789);
  EXPECT_EQ(s.st_mtim.tv_sec, 987654321);
  EXPECT_EQ(s.st_mtim.tv_nsec, 987654321);
}

TEST_F(PosixTest, AnOpenFileLivesOnAfterUnlink) {
  const int fd = open(Path("f").c_str(), O_CREAT | O_RDWR, 0600);
  ASSERT_GE(fd, 0);
  const std::string data = Pattern(100'000, 1);
  ASSERT_EQ(write(fd, data.data(), data.size()), ssize_t(data.size()));
  ASSERT_EQ(unlink(Path("f").c_str()), 0);
  // Longer than the mount needs to hear that the file has no name any more.
  sleep(4);
  std::string back(data.size(), '\0');
  ASSERT_EQ(pread(fd, back.data(), back.size(), 0), ssize_t(back.size()));
  EXPECT_EQ(back, data);
  EXPECT_EQ(pwrite(fd, "tail", 4, 200'000), 4);
  EXPECT_EQ(fsync(fd), 0);
  struct stat s;
  ASSERT_EQ(fstat(fd, &s), 0);
  EXPECT_EQ(s.st_nlink, 0u);
  EXPECT_EQ(s.st_size, 200'004);
  close(fd);
}

TEST_F(PosixTest, RenameReplacesAtomicallyAndFollowsTheRules) {
  WriteFile(Path("a"), "aaa");
  WriteFile(Path("b"), "bbb");
  ASSERT_EQ(rename(Path("a").c_str(), Path("b").c_str()), 0);
  EXPECT_EQ(ReadFile(Path("b")), "aaa");
  EXPECT_EQ(access(Path("a").c_str(), F_OK), -1);

  ASSERT_EQ(mkdir(Path("d").c_str(), 0755), 0);
  ASSERT_EQ(mkdir(Path("d/e").c_str(), 0755), 0);
  EXPECT_EQ(rename(Path("d").c_str(), Path("d/e/f").c_str()), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(rename(Path("b").c_str(), Path("d").c_str()), -1);
  EXPECT_EQ(errno, EISDIR);
  EXPECT_EQ(rename(Path("d").c_str(), Path("b").c_str()), -1);
  EXPECT_EQ(errno, ENOTDIR);
  ASSERT_EQ(mkdir(Path("g").c_str(), 0755), 0);
  EXPECT_EQ(rename(Path("g").c_str(), Path("d").c_str()), -1);
  EXPECT_EQ(errno, ENOTEMPTY);
  EXPECT_EQ(Stat("d").st_nlink, 3u);
  ASSERT_EQ(rename(Path("d/e").c_str(), Path("g").c_str()), 0);
  EXPECT_EQ(Stat("d").st_nlink, 2u);
  EXPECT_EQ(renameat2(AT_FDCWD, Path("g").c_str(), AT_FDCWD, Path("d").c_str(), RENAME_NOREPLACE),
            -1);
  EXPECT_EQ(errno, EEXIST);
}

TEST_F(PosixTest, LinksShareTheirInode) {
  WriteFile(Path("a"), "one");
  ASSERT_EQ(link(Path("a").c_str(), Path("b").c_str()), 0);
  EXPECT_EQ(Stat("a").st_ino, Stat("b").st_ino);
  EXPECT_EQ(Stat("a").st_nlink, 2u);
  WriteFile(Path("b"), "two");
  EXPECT_EQ(ReadFile(Path("a")), "two");
  ASSERT_EQ(symlink("a", Path("s").c_str()), 0);
  char target[64] = {};
  EXPECT_EQ(readlink(Path("s").c_str(), target, sizeof(target)), 1);
  EXPECT_EQ(ReadFile(Path("s")), "two");
  EXPECT_EQ(link(root_.c_str(), Path("hard").c_str()), -1);
  EXPECT_EQ(errno, EPERM);
}

TEST_F(PosixTest, SparseFilesReadBackAsZeros) {
  const int fd = open(Path("f").c_str(), O_CREAT | O_RDWR, 0600);
  ASSERT_GE(fd, 0);
  // Over two block boundaries, with a block in between that is never written.
  const off_t far = 150LL << 20;
  ASSERT_EQ(pwrite(fd, "begin", 5, 10), 5);
  ASSERT_EQ(pwrite(fd, "end", 3, far), 3);
  ASSERT_EQ(fsync(fd), 0);
  close(fd);
  EXPECT_EQ(Stat("f").st_size, far + 3);
  EXPECT_LT(Stat("f").st_blocks * 512, far);
  const int in = open(Path("f").c_str(), O_RDONLY);
  std::string data(1 << 20, 'x');
  ASSERT_EQ(pread(in, data.data(), data.size(), 80 << 20), ssize_t(data.size()));
  EXPECT_EQ(data, std::string(1 << 20, '\0'));
  ASSERT_EQ(pread(in, data.data(), 20, 0), 20);
  EXPECT_EQ(data.substr(0, 20), std::string(10, '\0') + "begin" + std::string(5, '\0'));
  ASSERT_EQ(pread(in, data.data(), 20, far - 2), 5);
  EXPECT_EQ(data.substr(0, 5), std::string("\0\0end", 5));
  close(in);
}

TEST_F(PosixTest, BytesThatWereCutOffNeverComeBack) {
  const std::string data = Pattern(300'000, 7);
  WriteFile(Path("f"), data);
  ASSERT_EQ(truncate(Path("f").c_str(), 100'001), 0);
  ASSERT_EQ(truncate(Path("f").c_str(), 250'000), 0);
  EXPECT_EQ(ReadFile(Path("f")), data.substr(0, 100'001) + std::string(149'999, '\0'));
  // A write behind the gap must not bring the old bytes of the gap back either.
  const int fd = open(Path("f").c_str(), O_RDWR);
  ASSERT_EQ(pwrite(fd, "X", 1, 200'000), 1);
  ASSERT_EQ(close(fd), 0);
  std::string expected = data.substr(0, 100'001) + std::string(149'999, '\0');
  expected[200'000] = 'X';
  EXPECT_EQ(ReadFile(Path("f")), expected);
}

TEST_F(PosixTest, AppendGoesToTheEnd) {
  for (int i = 0; i < 5; ++i) {
    const int fd = open(Path("log").c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600);
    ASSERT_GE(fd, 0);
    EXPECT_EQ(write(fd, "line\n", 5), 5);
    close(fd);
  }
  EXPECT_EQ(ReadFile(Path("log")), "line\nline\nline\nline\nline\n");
}

TEST_F(PosixTest, ExtendedAttributes) {
  WriteFile(Path("f"), "x");
  const std::string path = Path("f");
  EXPECT_EQ(getxattr(path.c_str(), "user.a", nullptr, 0), -1);
  EXPECT_EQ(errno, ENODATA);
  ASSERT_EQ(setxattr(path.c_str(), "user.a", "value", 5, XATTR_CREATE), 0);
  EXPECT_EQ(setxattr(path.c_str(), "user.a", "again", 5, XATTR_CREATE), -1);
  EXPECT_EQ(errno, EEXIST);
  EXPECT_EQ(setxattr(path.c_str(), "user.b", "value", 5, XATTR_REPLACE), -1);
  EXPECT_EQ(errno, ENODATA);
  char value[16] = {};
  EXPECT_EQ(getxattr(path.c_str(), "user.a", value, sizeof(value)), 5);
  EXPECT_STREQ(value, "value");
  EXPECT_EQ(getxattr(path.c_str(), "user.a", value, 2), -1);
  EXPECT_EQ(errno, ERANGE);
  char list[64] = {};
  EXPECT_EQ(listxattr(path.c_str(), list, sizeof(list)), 7);
  EXPECT_STREQ(list, "user.a");
  EXPECT_EQ(removexattr(path.c_str(), "user.a"), 0);
  EXPECT_EQ(removexattr(path.c_str(), "user.a"), -1);
  EXPECT_EQ(errno, ENODATA);
}

TEST_F(PosixTest, NamesOver255BytesAndPathsOverPathMax) {
  EXPECT_EQ(open(Path(std::string(256, 'n')).c_str(), O_CREAT | O_WRONLY, 0600), -1);
  EXPECT_EQ(errno, ENAMETOOLONG);
  WriteFile(Path(std::string(255, 'n')), "fits");
  EXPECT_EQ(ReadFile(Path(std::string(255, 'n'))), "fits");
  std::string deep = root_;
  while (deep.size() <= PATH_MAX) deep += "/" + std::string(200, 'd');
  EXPECT_EQ(open(deep.c_str(), O_RDONLY), -1);
  EXPECT_EQ(errno, ENAMETOOLONG);
  EXPECT_EQ(symlink(std::string(5000, 't').c_str(), Path("s").c_str()), -1);
  EXPECT_EQ(errno, ENAMETOOLONG);
}

TEST_F(PosixTest, SpecialFilesAndDirectoriesKeepTheirModes) {
  ASSERT_EQ(mkfifo(Path("fifo").c_str(), 0600), 0);
  EXPECT_TRUE(S_ISFIFO(Stat("fifo").st_mode));
  ASSERT_EQ(mknod(Path("dev").c_str(), S_IFCHR | 0600, makedev(1, 3)), 0);
  EXPECT_TRUE(S_ISCHR(Stat("dev").st_mode));
  EXPECT_EQ(Stat("dev").st_rdev, makedev(1, 3));
  ASSERT_EQ(mkdir(Path("d").c_str(), 0750), 0);
  ASSERT_EQ(chmod(Path("d").c_str(), 02770), 0);
  ASSERT_EQ(chown(Path("d").c_str(), 1234, 5678), 0);
  ASSERT_EQ(chmod(Path("d").c_str(), 02770), 0);
  ASSERT_EQ(mkdir(Path("d/sub").c_str(), 0700), 0);
  EXPECT_EQ(Stat("d/sub").st_gid, 5678u);
  EXPECT_TRUE(Stat("d/sub").st_mode & S_ISGID);
  EXPECT_EQ(rmdir(Path("d").c_str()), -1);
  EXPECT_EQ(errno, ENOTEMPTY);
  EXPECT_EQ(rmdir(Path("d/sub").c_str()), 0);
  EXPECT_EQ(rmdir(Path("d").c_str()), 0);
}

TEST_F(PosixTest, PermissionsHoldForOtherUsers) {
  WriteFile(Path("secret"), "x");
  ASSERT_EQ(chmod(Path("secret").c_str(), 0600), 0);
  const ShellResult denied =
      Shell("setpriv --reuid 4242 --regid 4242 --clear-groups cat " + Path("secret"));
  EXPECT_NE(denied.status, 0);
  EXPECT_NE(denied.output.find("Permission denied"), std::string::npos) << denied.output;
  ASSERT_EQ(chmod(Path("secret").c_str(), 0644), 0);
  EXPECT_TRUE(Shell("setpriv --reuid 4242 --regid 4242 --clear-groups cat " + Path("secret")).ok());
}

TEST_F(PosixTest, ALargeDirectoryListsEveryEntryOnce) {
  constexpr int kEntries = 20'000;
  const ShellResult made = Shell("cd " + root_ + " && seq -f f%06g 1 " + std::to_string(kEntries) +
                                     " | xargs -P 8 -n 500 touch",
                                 300);
  ASSERT_TRUE(made.ok()) << made.output;
  std::set<std::string> names;
  DIR* directory = opendir(root_.c_str());
  ASSERT_NE(directory, nullptr);
  long middle = -1;
  std::string behind_middle;
  int count = 0;
  while (dirent* entry = readdir(directory)) {
    EXPECT_TRUE(names.insert(entry->d_name).second) << entry->d_name;
    if (++count == kEntries / 2) {
      middle = telldir(directory);
    } else if (count == kEntries / 2 + 1) {
      behind_middle = entry->d_name;
    }
  }
  EXPECT_EQ(names.size(), size_t(kEntries + 2));
  seekdir(directory, middle);
  EXPECT_EQ(readdir(directory)->d_name, behind_middle);
  rewinddir(directory);
  EXPECT_STREQ(readdir(directory)->d_name, ".");
  closedir(directory);
}

TEST_F(PosixTest, StatfsShowsTheSpace) {
  struct statvfs s;
  ASSERT_EQ(statvfs(root_.c_str(), &s), 0);
  EXPECT_EQ(s.f_namemax, 255u);
  EXPECT_GT(s.f_blocks, 0u);
  EXPECT_LE(s.f_bavail, s.f_blocks);
}

TEST_F(PosixTest, SharedMappingsWriteBack) {
  const ShellResult result = Shell("cd " + root_ + R"( && python3 - <<'P'
import mmap
with open('m', 'wb+') as f:
    f.truncate(3 * 4096 + 17)
    m = mmap.mmap(f.fileno(), 0)
    m[4096:4101] = b'hello'
    m.flush()
    m.close()
with open('m', 'rb') as f:
    d = f.read()
assert len(d) == 3 * 4096 + 17, len(d)
assert d[4096:4101] == b'hello', d[4096:4101]
P
)");
  EXPECT_TRUE(result.ok()) << result.output;
}

}  // namespace
}  // namespace tercet
