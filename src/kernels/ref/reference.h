// The reference kernels: each formula as it reads, summed in double, in no hurry. They may allocate, and they
// know nothing of the vector code but the layouts that kernel_table.h documents.
#pragma once

#include <vector>

#include "kernels/kernel_table.h"

namespace hadal::reference {

/// Row `output` of a packed weight, [w.in]: codes times scales.
std::vector<double> WeightRow(const PanelWeight& w, int64_t output);
/// What a prepared row stands for, [w.in]: rounded values, or codes times the row's own scales.
std::vector<double> InputValues(const PanelWeight& w, const void* prepared);
double Dot(const std::vector<double>& a, const std::vector<double>& b);

// The table's entries.
void Prepare(const PanelWeight& w, const float* x, void* prepared);
void Linear(const PanelWeight& w, const void* const* rows, int64_t m, int64_t first_panel,
            int64_t panel_count, float* const* y);
void RmsNorm(const float* x, const float* gain, float eps, int64_t width, float* y);
void SwiGlu(const float* gate, const float* up, int64_t width, float* y);
void Rope(float* x, const float* cosine, const float* sine, int64_t pairs);
void AddScaled(const float* x, float a, int64_t width, float* y);
void AttendAbsorbed(const AbsorbedArgs& args);
void AttendPrompt(const PromptArgs& args);

}  // namespace hadal::reference
