import backprop
