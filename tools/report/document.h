// What all sections of the report read: the comparison, the JSON that every figure comes from, and the rows
// by layer.
#pragma once

#include "tools/compare/comparison.h"

#include <nlohmann/json.hpp>

#include <functional>
#include <string>
#include <vector>

namespace unstride {

// The rows of one layer, instruction set and number of threads.
struct RowGroup {
    std::string title; // "up64, avx512, 2 threads"
    std::string layer, text, instruction_set;
    int threads = 1;
    std::vector<std::size_t> rows;
};

// Of one matrix, one roofline: the same instruction set and threads.
struct MachineGroup {
    std::string instruction_set;
    int threads = 1;
    std::vector<std::size_t> groups;
};

class ReportDocument {
public:
    explicit ReportDocument(const Comparison &comparison);

    const Comparison &comparison() const { return comparison_; }
    const std::vector<ResultRow> &rows() const { return comparison_.results.rows; }
    const nlohmann::json &json() const { return json_; }
    const std::vector<RowGroup> &groups() const { return groups_; }
    const std::vector<MachineGroup> &machine_groups() const { return machine_groups_; }
    const std::vector<std::string> &columns() const { return columns_; } // in the order of first rows
    std::size_t series(std::size_t row) const { return series_[row]; }   // place in columns()

    bool has(const std::string &pointer) const;

    // The element that shows a value of the JSON; a dash where there is none.
    std::string figure(const std::string &pointer, const char *form) const;
    std::string row_figure(std::size_t row, const std::string &member, const char *form) const;
    // The same below an element with base(row), which says where the member is.
    std::string member_figure(std::size_t row, const std::string &member, const char *form) const;
    static std::string base(std::size_t row); // an attribute
    // Only its text.
    std::string row_text(std::size_t row, const std::string &member, const char *form) const;
    // The same as an SVG text element.
    std::string svg_figure(double x, double y, const char *style, const std::string &pointer,
                           const char *form) const;

    // Layers are opened in the reader's browser at once where there are few.
    bool few_groups() const { return groups_.size() <= 3; }

private:
    const Comparison &comparison_;
    nlohmann::json json_;
    std::vector<RowGroup> groups_;
    std::vector<MachineGroup> machine_groups_;
    std::vector<std::string> columns_;
    std::vector<std::size_t> series_;
};

// What a column of figures shows of every row.
struct FigureColumn {
    std::string title, member; // "code", "static/code_bytes"
    const char *form;
};

// A table of the rows for which `chosen`, by layer. Its header says once what the columns show, as report.h
// describes. Nothing where no row is chosen.
std::string figure_table(const ReportDocument &document, const std::vector<FigureColumn> &columns,
                         const std::function<bool(const ResultRow &)> &chosen);

// A member's name as a part of a JSON pointer.
std::string pointer_part(const std::string &name);

// The sections' bodies.
std::string provenance_section(const ReportDocument &document);
std::string matrix_section(const ReportDocument &document);
std::string forest_section(const ReportDocument &document);
std::string samples_section(const ReportDocument &document);
std::string roofline_section(const ReportDocument &document);
std::string search_section(const ReportDocument &document);
std::string lookup_section(const ReportDocument &document);
std::string schedules_section(const ReportDocument &document);
std::string assembly_section(const ReportDocument &document);
std::string cost_section(const ReportDocument &document);
std::string correctness_section(const ReportDocument &document);
std::string failures_section(const ReportDocument &document);
std::string data_section(const ReportDocument &document);

// One summary of each column against the baseline, above all sections.
std::string summary_cards(const ReportDocument &document);

} // namespace unstride
