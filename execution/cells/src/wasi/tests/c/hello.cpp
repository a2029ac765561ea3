// Arguments, variables and the three streams through iostream.
#include <cstdlib>
#include <iostream>
#include <string>

int main(int argc, char **argv) {
    std::cout << std::getenv("GREETING") << ' ' << argv[argc - 1] << ": ";
    for (std::string line; std::getline(std::cin, line);) std::cout << '[' << line << ']';
    std::cout << std::endl;
    std::cerr << "done\n";
    return 7;
}
